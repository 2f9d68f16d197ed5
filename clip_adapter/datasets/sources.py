"""A dataset before any image is read: its folder, class names, list of files and prompts."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from clip_adapter.datasets.splits import Split
from clip_adapter.errors import DatasetError
from clip_adapter.images import DEFAULT_OPTIONS, ImageFolder, ReadOptions

# The name becomes a folder of the store and a Prefect artifact key.
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_NAME = 80


def slug_of(text: str) -> str:
    """`text` in `a-z`, `0-9` and single dashes, at most 80 characters; empty if nothing is left.

    Accents are dropped, as are letters that are not Latin.

    >>> slug_of("Forêt (2024)"), slug_of("写真")
    ('foret-2024', '')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^a-z0-9]+", "-", plain.lower())[:_LONGEST_NAME].strip("-")


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """One image with its label.

    Attributes:
        path: POSIX path relative to the folder of the dataset, of a file or in a container as
            `clip_adapter.images.containers` says.
        label: position of the class in `ImageSource.class_names`.
        split: published split, or None when the content of the file decides.
        group: writer, patient or place that the image belongs to, if known; images of one group share
            a split where none is published.
    """

    path: str
    label: int
    split: Split | None
    group: str | None = None


@dataclass(frozen=True)
class ExcludedFile:
    """A file in the folder of a dataset that is not used, although it could be read.

    Attributes:
        path: POSIX path relative to the folder of the dataset.
        reason: why it is not used, in few words that many files share, as "not an image".
    """

    path: str
    reason: str


def check_name(name: str, *, what: str) -> None:
    """Raise unless a name of a dataset is a slug of at most 80 characters.

    Args:
        name: name that the user gives a dataset.
        what: where it stands, as the message begins.

    Raises:
        DatasetError: the name is not a slug; the message proposes one.
    """
    if _SLUG.fullmatch(name) and len(name) <= _LONGEST_NAME:
        return
    proposed = slug_of(name)
    hint = f", as {proposed!r}" if proposed else ""
    raise DatasetError(
        f"{what} is {name!r:.90}: use a-z, 0-9 and single dashes, at most {_LONGEST_NAME} "
        f"characters{hint}"
    )


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """What a user may say about a folder of images.

    Attributes:
        name: name of the dataset; that of the folder when None.
        class_names: file with the names, and perhaps the prompts, of the classes.
        ignore: glob patterns of paths, relative to the folder, that are left out.
        columns: name of the dataset's column for each of ours that it has another name for, as
            ("label", "species"); of tables and containers only.
        read: how the image files may be read.

    Raises:
        DatasetError: the name is not a slug; the message proposes one.
    """

    name: str | None = None
    class_names: Path | None = None
    ignore: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    read: ReadOptions = DEFAULT_OPTIONS

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name, what="--name")


@dataclass(frozen=True)
class ImageSource:
    """A dataset on disk, whose images have not been read.

    Attributes:
        name: slug of `a-z`, `0-9` and `-`.
        folder: folder, or prefix in an object store, that every path of `files` is relative to.
        class_names: class names as they appear in a prompt; a label is a position in this tuple.
        templates: prompts with one `{}` for the class name.
        files: image files with their labels, no path twice.
        excluded: files in the folder that are not used.
        notes: sentences about what was assumed of the folder or left out of it.
        read: how the image files may be read.
        class_folders: folder that each class is named after by a rule, None for a class that a file
            names; empty where no class is named after a folder.
        class_prompts: prompts of each class in place of the templates, with at most one `{}`, none
            for a class without prompts of its own; empty where no class has any.
        licence: licence of the images, as its file says.
        citation: what to cite for the images, as its file says.
        fingerprint_name: name under which the dataset was first indexed, which stays part of its
            fingerprint after it was renamed; None if that is `name`.

    Raises:
        DatasetError: the name is not a slug, a label has no class, or a path occurs twice.
    """

    name: str
    folder: ImageFolder
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    files: tuple[LabelledFile, ...]
    excluded: tuple[ExcludedFile, ...] = ()
    notes: tuple[str, ...] = ()
    read: ReadOptions = DEFAULT_OPTIONS
    class_folders: tuple[str | None, ...] = ()
    class_prompts: tuple[tuple[str, ...], ...] = ()
    licence: str | None = None
    citation: str | None = None
    fingerprint_name: str | None = None

    def __post_init__(self) -> None:
        if not _SLUG.fullmatch(self.name):
            raise DatasetError(
                f"dataset name {self.name!r} is not a slug: use a-z, 0-9 and single dashes"
            )
        unknown = [file for file in self.files if not 0 <= file.label < len(self.class_names)]
        if unknown:
            raise DatasetError(
                f"{unknown[0].path!r} has label {unknown[0].label}, but the {len(self.class_names)} "
                f"classes of {self.name!r} are numbered from 0"
            )
        if len({file.path for file in self.files}) < len(self.files):
            raise DatasetError(f"the file list of {self.name!r} names a path twice; list it once")


PROMPT_STYLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "class name": ("{}",),
        "photo": ("a photo of a {}.",),
        "ensemble": (
            "itap of a {}.",
            "a bad photo of the {}.",
            "a origami {}.",
            "a photo of the large {}.",
            "a {} in a video game.",
            "art of the {}.",
            "a photo of the small {}.",
        ),
    }
)
"""The bare class name, CLIP's default prompt, and the seven prompts that CLIP's authors found to be nearly as
good as all eighty for ImageNet (https://github.com/openai/CLIP, Prompt_Engineering_for_ImageNet)."""


def check_templates(templates: Iterable[str]) -> None:
    """Raise unless each template has one `{}` for the class name and occurs once.

    Raises:
        DatasetError: a template is invalid; the message names the first.
    """
    seen: set[str] = set()
    for template in templates:
        if template.count("{}") != 1:
            raise DatasetError(
                f"the template {template!r} has {template.count('{}')} places for the class name, "
                "expected one, written {}"
            )
        if template in seen:
            raise DatasetError(f"the template {template!r} comes twice; name it once")
        seen.add(template)
