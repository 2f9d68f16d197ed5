"""What a dataset is before any image is read: a folder, class names and a list of files."""

import re
from dataclasses import dataclass
from pathlib import Path

from clip_adapter.datasets.errors import DatasetError
from clip_adapter.datasets.splits import Split

# The name becomes a folder of the store and a Prefect artifact key.
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class LabelledFile:
    """One image file and what is said about it.

    Attributes:
        path: POSIX path relative to the folder of the dataset.
        label: Position of its class in `ImageSource.class_names`.
        split: The published split, or None when the content of the file decides.
        group: What it belongs to (a writer, a place), when the dataset tells; recorded, not used.
    """

    path: str
    label: int
    split: Split | None
    group: str | None = None


@dataclass(frozen=True)
class ImageSource:
    """A dataset as it lies on disk; opening it reads no image.

    Attributes:
        name: A slug of `a-z`, `0-9` and `-`.
        folder: The folder every path of `files` is relative to.
        class_names: As they stand in a prompt; a label is a position in here.
        templates: Prompts with one `{}` for the class name.
        files: One entry a file, no path twice.

    Raises:
        DatasetError: The name is no slug, a label has no class, or a path comes twice.
    """

    name: str
    folder: Path
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    files: tuple[LabelledFile, ...]

    def __post_init__(self) -> None:
        if not _SLUG.fullmatch(self.name):
            raise DatasetError(
                f"dataset name {self.name!r} is not a slug: use a-z, 0-9 and single dashes"
            )
        strays = [file for file in self.files if not 0 <= file.label < len(self.class_names)]
        if strays:
            raise DatasetError(
                f"{strays[0].path!r} has label {strays[0].label}, but the {len(self.class_names)} "
                f"classes of {self.name!r} are numbered from 0"
            )
        if len({file.path for file in self.files}) < len(self.files):
            raise DatasetError(f"the file list of {self.name!r} names a path twice; list it once")
