"""What can be wrong with a dataset: its folder, its split file, one image, or one class."""

from clip_adapter.errors import ClipAdapterError

__all__ = ["DatasetError", "NotEnoughImagesError", "SplitFileError", "UnreadableImageError"]


class DatasetError(ClipAdapterError, ValueError):
    """A dataset that cannot be used as it is; the message says what to change."""


class SplitFileError(DatasetError):
    """A published split file that is malformed or disagrees with the dataset."""


class UnreadableImageError(ClipAdapterError, ValueError):
    """One file that is no usable image; `reason` says why, without naming the file."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotEnoughImagesError(DatasetError):
    """A class with fewer distinct training images than a few-shot split needs."""

    def __init__(self, class_name: str, found: int, needed: int, *, shots: int) -> None:
        super().__init__(
            f"class {class_name!r} has too few images for {shots} shots: {found} distinct training "
            f"images found, {needed} needed ({shots} to train on and {needed - shots} to validate "
            "on that its val split lacks); ask for fewer shots or add images to the class"
        )
        self.class_name, self.found, self.needed, self.shots = class_name, found, needed, shots

    def __reduce__(self) -> tuple[object, ...]:
        # An exception is rebuilt from its message alone, unless told how; workers send them home.
        return _rebuild_not_enough, (self.class_name, self.found, self.needed, self.shots)


def _rebuild_not_enough(
    class_name: str, found: int, needed: int, shots: int
) -> NotEnoughImagesError:
    return NotEnoughImagesError(class_name, found, needed, shots=shots)
