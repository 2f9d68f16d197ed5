"""What can be wrong with a dataset: its folder, its split file, or one class."""

from clip_adapter.errors import ClipAdapterError
from clip_adapter.shots import ALL_SHOTS, shots_in_words


class DatasetError(ClipAdapterError, ValueError):
    """A dataset that cannot be used as it is; the message says what to change."""


class SplitFileError(DatasetError):
    """A published split file that is malformed or disagrees with the dataset."""


class NotEnoughImagesError(DatasetError):
    """A class with fewer distinct training images than a few-shot split needs.

    Attributes:
        class_name: The class.
        found: Its distinct images in the train split.
        needed: How many of them would train and validate.
        shots: Labelled images a class that were asked for.
        fitting: Numbers of shots for which every class has enough, the largest last.
    """

    def __init__(
        self,
        class_name: str,
        found: int,
        needed: int,
        *,
        shots: int,
        fitting: tuple[int, ...],
    ) -> None:
        lacking = needed - shots
        reason = f" ({lacking} of them to validate on, which its val split lacks)"
        super().__init__(
            f"class {class_name!r} has too few images for {shots_in_words(shots)}: {found} distinct images in "
            f"its train split, {needed} needed{reason if lacking > 0 else ''}; {_advice(fitting)}add "
            "images to the class (where no folders say otherwise, half of them train), or sort them "
            "into train and test folders yourself"
        )
        self.class_name, self.found, self.needed = class_name, found, needed
        self.shots, self.fitting = shots, fitting

    def __reduce__(self) -> tuple[object, ...]:
        # An exception is rebuilt from its message alone, unless told how; workers send them home.
        given = (self.class_name, self.found, self.needed, self.shots, self.fitting)
        return _rebuild_not_enough, given


def _advice(fitting: tuple[int, ...]) -> str:
    if not fitting:
        return "no other number of shots would do, so "
    if fitting == (ALL_SHOTS,):
        return "use --shots all, which takes of each class what it has, or "
    listed = ",".join(map(str, fitting))
    return f"use --shots {listed} (every class has enough for {fitting[-1]}, and no more), or "


def _rebuild_not_enough(
    class_name: str, found: int, needed: int, shots: int, fitting: tuple[int, ...]
) -> NotEnoughImagesError:
    return NotEnoughImagesError(class_name, found, needed, shots=shots, fitting=fitting)
