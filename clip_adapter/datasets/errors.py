"""What can be wrong with a dataset: its folder, its split file, or one class."""

from clip_adapter.errors import ClipAdapterError
from clip_adapter.shots import shots_in_words

__all__ = ["DatasetError", "NotEnoughImagesError", "SplitFileError"]


class DatasetError(ClipAdapterError, ValueError):
    """A dataset that cannot be used as it is; the message says what to change."""


class SplitFileError(DatasetError):
    """A published split file that is malformed or disagrees with the dataset."""


class NotEnoughImagesError(DatasetError):
    """A class with fewer distinct training images than a few-shot split needs."""

    def __init__(self, class_name: str, found: int, needed: int, *, shots: int) -> None:
        lacking = needed - shots
        reason = f" ({lacking} of them to validate on, which its val split lacks)"
        super().__init__(
            f"class {class_name!r} has too few images for {shots_in_words(shots)}: {found} distinct images in "
            f"its train split, {needed} needed{reason if lacking > 0 else ''}; ask for fewer shots, add "
            "images to the class (where no folders say otherwise, half of them train), or sort them "
            "into train and test folders yourself"
        )
        self.class_name, self.found, self.needed, self.shots = class_name, found, needed, shots

    def __reduce__(self) -> tuple[object, ...]:
        # An exception is rebuilt from its message alone, unless told how; workers send them home.
        return _rebuild_not_enough, (self.class_name, self.found, self.needed, self.shots)


def _rebuild_not_enough(
    class_name: str, found: int, needed: int, shots: int
) -> NotEnoughImagesError:
    return NotEnoughImagesError(class_name, found, needed, shots=shots)
