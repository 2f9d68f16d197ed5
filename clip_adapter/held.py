"""Files that a process holds for as long as it lives, so that no other does the same."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HeldFile:
    """A file this process holds; the operating system lets go of it when the process ends.

    However it ends: neither `kill -9` nor a crash leaves anything to clear up. What the file says
    is for those who find it held. It is never removed: another process may just be opening it.

    Attributes:
        path: The file.
        descriptor: Of the open file. A process started with it in `pass_fds` holds the file, too.
    """

    path: Path
    descriptor: int

    @classmethod
    def take(cls, path: Path, note: str = "") -> "HeldFile | None":
        """Hold a file, made if it is missing, and write a note into it; None if another does.

        Raises:
            OSError: The file cannot be opened or written.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        held = cls(path, descriptor)
        held.write(note)
        return held

    @staticmethod
    def is_held(path: Path) -> bool:
        """Whether a living process holds it."""
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
        """Replace the note."""
        content = note.encode()
        os.pwrite(self.descriptor, content, 0)  # on a full disk the note before stays
        os.ftruncate(self.descriptor, len(content))

    def release(self) -> None:
        """Let go of it, if no process that was given the descriptor lives."""
        os.close(self.descriptor)
