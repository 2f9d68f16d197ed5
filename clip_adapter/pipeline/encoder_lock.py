"""One encoder at a time on a machine, whatever started it."""

import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from clip_adapter.errors import ClipAdapterError
from clip_adapter.held import HeldFile
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.settings import Settings

__all__ = ["UnsafeLockFolderError", "encoder_slot", "lock_folder"]

POLL_SECONDS = 0.2


class UnsafeLockFolderError(ClipAdapterError, PermissionError):
    """Somebody else could hold or replace this user's locks."""


@contextmanager
def encoder_slot(what: str, reporter: Reporter) -> Iterator[None]:
    """Wait until this machine has a free encoder, and hold it.

    `CLIP_ADAPTER_ENCODERS` may run at once, one by default: two that share a GPU or the cores of a
    CPU finish later than one after the other, and need twice the memory. The operating system
    frees the place of a process that ends, however it ends. Ctrl-C and SIGTERM end the waiting.

    Never wait for another process's encoding while holding a turn: the two may wait forever.

    Args:
        what: what is encoded, reported to those who wait.
        reporter: where to report for whom this process waits.

    Raises:
        UnsafeLockFolderError: the folder of the locks is somebody else's.
        InvalidSettingError: `CLIP_ADAPTER_ENCODERS` is no positive number.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    note = f"{what} (process {os.getpid()}, since {now})"
    places = [lock_folder() / f"encoder-{place}.lock" for place in range(Settings.of().encoders)]
    held = _take_one(places, note) or _wait_for_one(places, note, reporter)
    try:
        yield
    finally:
        held.release()


def lock_folder() -> Path:
    """The folder of this user's locks on this machine; it is made if it is missing.

    Raises:
        UnsafeLockFolderError: it belongs to somebody else, or others may write to it.
    """
    folder = Path(tempfile.gettempdir()) / f"clip-adapter-{os.getuid()}"
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)  # noqa: PTH102  # whose `exist_ok` passes over other errors, too
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UnsafeLockFolderError(
            f"{folder} is not a folder that only you can write to: remove it, or set TMPDIR to a "
            "folder of your own"
        )
    return folder


def _wait_for_one(places: list[Path], note: str, reporter: Reporter) -> HeldFile:
    # Nobody lets go of a place without ending its work, so each note is of who holds it.
    holders = [place.read_text() for place in places]
    reporter.log(f"waiting for {' and '.join(holders)}; CLIP_ADAPTER_ENCODERS allows more at once")
    while True:
        if held := _take_one(places, note):
            return held
        time.sleep(POLL_SECONDS)  # a signal ends it


def _take_one(places: list[Path], note: str) -> HeldFile | None:
    return next((held for place in places if (held := HeldFile.take(place, note))), None)
