"""A supervisor that ends leaves nothing running, not even what its children had just started."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from service.folder import ServiceFolder

CHECKOUT = Path(__file__).parents[2]
SERVER_IN_NAME = """
import subprocess, time
from pathlib import Path
asked = subprocess.Popen(["sleep", "300"])
Path("asked.part").write_text(str(asked.pid))
Path("asked.part").rename("asked")
time.sleep(300)
"""


def runs(pid: int) -> bool:
    """Whether a process does anything; a dead one that nobody has waited for has no command line."""
    with suppress(OSError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="such processes are found on Linux")
def test_what_a_server_had_just_started_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect/__init__.py").touch()
    (tmp_path / "prefect/__main__.py").write_text(SERVER_IN_NAME)
    folder = ServiceFolder(tmp_path / "service")
    folder.make()
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "service.supervisor", folder.path, "1", tmp_path],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        start_new_session=True,
    )
    try:
        while not (tmp_path / "asked").exists():
            assert supervisor.poll() is None
            time.sleep(0.05)
        asked = int((tmp_path / "asked").read_text())
        assert runs(asked)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(60) == 0
        assert not runs(asked)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
