"""Any folder of images as class/image or split/class/image, labelled by the folder names."""

import os
from pathlib import Path
from typing import Final

from clip_adapter.datasets.sources import FolderOptions, ImageSource, LabelledFile, slug_of
from clip_adapter.datasets.splits import Split
from clip_adapter.errors import DatasetError

# The formats that are decoded are ACCEPTED_FORMATS of clip_adapter.images.decoding.
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

TEMPLATES = ("a photo of a {}.",)

_SPLIT_FOLDERS: Final[dict[str, Split]] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_LAYOUTS = "expected class/image or split/class/image, with the splits train, val and test"


_AS_IT_IS = FolderOptions()


def open_imagefolder(folder: Path, options: FolderOptions = _AS_IT_IS) -> ImageSource:
    """The dataset in `folder`, with the template "a photo of a {}.".

    Class names are the folder names, sorted, with `_` and `-` turned into spaces. When every
    folder is called train, val (valid, validation) or test and holds folders, they are splits;
    otherwise each image's content decides its split. Hidden files and files without the suffix
    of an image are ignored. The name of the dataset is that of the options, else the folder's as a
    slug.

    Raises:
        DatasetError: the folder is missing or empty, a class is empty or its name cannot be
            prompted, fewer than two classes, no train or no test split, a linked folder
            leads out of `folder`, or its name makes no name of a dataset.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"there is no folder {folder}; write imagefolder:PATH with one, {_LAYOUTS}"
        )
    tops = subfolders(folder)
    if not tops:
        raise DatasetError(f"{folder} holds no class folders; {_LAYOUTS}")
    if _are_splits(folder, tops):
        found = _list_splits(folder, tops)
    else:
        found = [(name, None, name) for name in tops]
    classes = sorted({name for name, _, _ in found})
    files = _list_files(folder, found, classes=classes)
    return ImageSource(
        name=options.name or name_of(folder),
        folder=folder,
        class_names=_prompt_names(folder, classes),
        templates=TEMPLATES,
        files=files,
        read=options.read,
    )


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in `folder`, sorted, hidden ones left out.

    Raises:
        DatasetError: a folder is a link that leads out of `folder`.
    """
    root = folder.resolve()
    found = sorted(entry for entry in folder.iterdir() if _is_shown(entry) and entry.is_dir())
    for entry in found:
        if entry.is_symlink() and not entry.resolve().is_relative_to(root):
            raise DatasetError(
                f"{entry} is a link out of {folder}, which is not followed; "
                "put the folder itself there, or open the folder it leads to"
            )
    return [entry.name for entry in found]


def image_names(folder: Path) -> list[str]:
    """The names in `folder` with the suffix of an image, sorted; they may be folders."""
    return sorted(
        name
        for name in os.listdir(folder)  # noqa: PTH208 - a Path for each name takes most of the time
        if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - as above
    )


def _is_shown(entry: Path) -> bool:
    return not entry.name.startswith(".")


def _are_splits(folder: Path, tops: list[str]) -> bool:
    named_so = all(name.lower() in _SPLIT_FOLDERS for name in tops)
    return named_so and all(subfolders(folder / name) for name in tops)


def _list_splits(folder: Path, tops: list[str]) -> list[tuple[str, Split | None, str]]:
    splits = {_SPLIT_FOLDERS[top.lower()] for top in tops}
    for needed in ("train", "test"):
        if needed not in splits:
            raise DatasetError(
                f"{folder} has the splits {', '.join(tops)} but no {needed!r}; "
                "rename or add a folder, or use class/image and let the content decide"
            )
    return [
        (name, _SPLIT_FOLDERS[top.lower()], f"{top}/{name}")
        for top in tops
        for name in subfolders(folder / top)
    ]


def _list_files(
    folder: Path, found: list[tuple[str, Split | None, str]], *, classes: list[str]
) -> tuple[LabelledFile, ...]:
    label_of = {name: label for label, name in enumerate(classes)}
    files = tuple(
        LabelledFile(f"{below}/{image}", label=label_of[name], split=split)
        for name, split, below in found
        for image in image_names(folder / below)
    )
    empty = set(range(len(classes))) - {file.label for file in files}
    if empty:
        raise DatasetError(
            f"class folder {classes[min(empty)]!r} of {folder} holds no images "
            f"({', '.join(sorted(IMAGE_SUFFIXES))}); {_LAYOUTS}; add images or remove the folder"
        )
    return files


def _prompt_names(folder: Path, classes: list[str]) -> tuple[str, ...]:
    if len(classes) < 2:
        raise DatasetError(f"{folder} has the one class {classes[0]!r}; classifying takes two")
    names: dict[str, str] = {}
    for raw in classes:
        name = " ".join(raw.replace("_", " ").replace("-", " ").split())
        if not name or not name.isprintable():
            raise DatasetError(f"class folder {raw!r} of {folder} makes no class name; rename it")
        if name in names:
            raise DatasetError(
                f"class folders {names[name]!r} and {raw!r} of {folder} both read {name!r}; "
                "rename one"
            )
        names[name] = raw
    return tuple(names)


def name_of(folder: Path) -> str:
    """The name of a folder as a slug; a link gives its own name, not that of its target.

    Raises:
        DatasetError: nothing is left of the name, or only its digits.
    """
    name = os.path.basename(os.path.abspath(folder))  # noqa: PTH100, PTH119  # Path keeps ".."
    slug = slug_of(name)
    # "写真 2" and "動物 2" would both be called 2.
    if not slug or (slug.replace("-", "").isdecimal() and not name.isascii()):
        raise DatasetError(
            f"the name of the folder {folder} has no letters a-z to name a dataset by: give the "
            "dataset a name with --name"
        )
    return slug
