"""A lock that lets one encoder at a time run on a machine, across all processes of a user."""

import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from clip_adapter.errors import UnavailableError
from clip_adapter.file_lock import FileLock
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.settings import Settings

POLL_SECONDS = 0.2


@contextmanager
def encoder_slot(what: str, reporter: Reporter) -> Iterator[None]:
    """Wait for a free encoder slot of this machine, and hold it while the context is active.

    There are `CLIP_ADAPTER_ENCODERS` slots, one by default: two encoders that share a GPU or the
    cores of a CPU finish later than one after the other, and need twice the memory. The operating
    system frees the slot of a process that ends, however it ends. Ctrl-C and SIGTERM end the wait.

    Never wait for another process to encode while holding a slot: the two may wait forever.

    Args:
        what: description of what is encoded, shown to processes that wait.
        reporter: where to report which process this one waits for.

    Raises:
        UnavailableError: other users can write to the folder of the locks.
        ParameterError: `CLIP_ADAPTER_ENCODERS` is not a positive number.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    note = f"{what} (process {os.getpid()}, since {now})"
    folder = lock_folder()
    paths = [folder / f"encoder-{number}.lock" for number in range(Settings.of().encoders)]
    lock = _acquire_one(paths, note) or _wait_for_one(paths, note, reporter)
    try:
        yield
    finally:
        lock.release()


def lock_folder() -> Path:
    """The folder of this user's locks on this machine, created if it is missing.

    Raises:
        UnavailableError: it belongs to another user, or other users may write to it.
    """
    folder = Path(tempfile.gettempdir()) / f"clip-adapter-{os.getuid()}"
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)  # noqa: PTH102  # whose `exist_ok` passes over other errors, too
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UnavailableError(
            f"{folder} is not a folder that only you can write to: remove it, or set TMPDIR to a "
            "folder of your own"
        )
    return folder


def _wait_for_one(paths: list[Path], note: str, reporter: Reporter) -> FileLock:
    # A slot is released only when its work has ended, so each note describes the current owner.
    owners = [path.read_text() for path in paths]
    reporter.log(f"waiting for {' and '.join(owners)}; CLIP_ADAPTER_ENCODERS allows more at once")
    while True:
        if lock := _acquire_one(paths, note):
            return lock
        time.sleep(POLL_SECONDS)  # a signal ends it


def _acquire_one(paths: list[Path], note: str) -> FileLock | None:
    return next((lock for path in paths if (lock := FileLock.acquire(path, note))), None)
