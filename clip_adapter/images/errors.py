"""What can be wrong with one image file."""

from clip_adapter.errors import ClipAdapterError

__all__ = ["UnreadableImageError"]


class UnreadableImageError(ClipAdapterError, ValueError):
    """One file that is no usable image; `reason` says why, without naming the file."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
