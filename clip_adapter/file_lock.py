"""Exclusive locks on files, held until the process ends."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileLock:
    """An exclusive lock on a file, with a note in it for processes that find it locked.

    The operating system releases the lock when the process ends, also after `kill -9` or a crash. The
    file is never removed, because another process may be opening it. docs/adr/0024 says why it is not
    the library `filelock`.

    Attributes:
        path: the file.
        descriptor: file descriptor that holds the lock; a child that gets it in `pass_fds` shares it.
    """

    path: Path
    descriptor: int

    @classmethod
    def acquire(cls, path: Path, note: str = "") -> "FileLock | None":
        """Lock a file, created if it is missing, and write a note; None if it is locked already.

        Raises:
            OSError: the file cannot be opened or written, or is a symbolic link.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        lock = cls(path, descriptor)
        lock.write(note)
        return lock

    @staticmethod
    def is_locked(path: Path) -> bool:
        """Whether a living process has locked the file."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def write(self, note: str) -> None:
        """Replace the note.

        Raises:
            OSError: the disk is full or fails; the error names the file.
        """
        content = note.encode()
        try:
            os.pwrite(self.descriptor, content, 0)  # on a full disk the previous note stays
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        os.ftruncate(self.descriptor, len(content))

    def release(self) -> None:
        """Release the lock, unless a child that got the descriptor is alive."""
        os.close(self.descriptor)
