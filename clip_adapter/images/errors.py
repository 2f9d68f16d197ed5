"""What can be wrong with one image file, or with the view of it that is asked for."""

from clip_adapter.errors import ClipAdapterError

__all__ = ["UnreadableImageError", "ViewError"]


class UnreadableImageError(ClipAdapterError, ValueError):
    """One file that is no usable image; `reason` says why, without naming the file."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ViewError(ClipAdapterError, ValueError):
    """A view of a picture that does not exist."""
