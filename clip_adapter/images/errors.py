"""What can be wrong with one image file, or with the view of it that is asked for."""

from clip_adapter.errors import ClipAdapterError


class UnreadableImageError(ClipAdapterError, ValueError):
    """One file that is no usable image; `reason` says why, without naming the file."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ChangedImageError(ClipAdapterError, OSError):
    """An image file that is not, or no more, the one whose digest was taken.

    Attributes:
        path: Of the file, relative to the folder.
        folder: Of the dataset.
    """

    def __init__(self, path: str, folder: str) -> None:
        super().__init__(path, folder)
        self.path, self.folder = path, folder

    def __str__(self) -> str:
        """Name the file and what to do."""
        return (
            f"{self.path!r} in {self.folder} is not the file that was indexed a moment ago: "
            "run again when nobody changes the folder"
        )


class ViewError(ClipAdapterError, ValueError):
    """A view of a picture that does not exist."""
