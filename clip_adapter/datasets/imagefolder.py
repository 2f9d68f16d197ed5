"""Any folder of images as class/image or split/class/image, labelled by the folder names."""

import glob
import os
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from clip_adapter.datasets.class_names import name_classes, naming_notes
from clip_adapter.datasets.dataset_file import NAME_IN_FOLDER, read_dataset_files
from clip_adapter.datasets.folder_walk import NOT_AN_IMAGE, FolderWalk, may_hold_image
from clip_adapter.datasets.sources import FolderOptions, ImageSource, LabelledFile, slug_of
from clip_adapter.datasets.splits import SPLIT_NAMES, SPLITS, Split
from clip_adapter.errors import DatasetError
from clip_adapter.images import FolderReader, ReadOptions

TEMPLATES = ("a photo of a {}.",)

_LAYOUTS = "expected class/image or split/class/image, with the splits train, val and test"
_DESCRIBES = "describes the dataset"
_SHOWN = 5  # names in a message

_AS_IT_IS = FolderOptions()


class _ClassFolder(NamedTuple):
    """A folder of images of one class: its composed name, its split, and the files below it."""

    name: str
    split: Split | None
    files: list[str]


def open_imagefolder(folder: Path, options: FolderOptions = _AS_IT_IS) -> ImageSource:
    """The dataset in `folder`, with the template "a photo of a {}.".

    A class is a folder in `folder`, and all files in it and in the folders below it belong to it, as in
    torchvision's ImageFolder. Classes are in the order of their folders' names. `options.class_names` or
    `dataset.yaml` in `folder` names them, else the rules of `clip_adapter.datasets.class_names`. A
    folder without images is no class.

    When every folder has the name of a split, in any case, and one of them holds folders, the classes
    are the folders in these: train or training; val, valid, validation or dev; test or testing. A class
    is the same in all of them, also if one spells its name in another case or Unicode form. Otherwise
    the images have no split, which is decided when they are indexed.

    A val or test folder without class folders, or without one that train has, is not labelled: its
    files are left for prediction. Without labelled test images a classifier would have no accuracy, so
    the split of the images of train is decided when they are indexed; those of val stay there.

    Every file is listed, whatever its suffix, or counted as excluded: hidden, ignored, outside the class
    folders (images) or not an image there, without a label, or linked in a circle. The name of the dataset is that of the options, else
    that in `dataset.yaml`, else the folder's as a slug.

    Args:
        folder: folder of class folders, or of split folders.
        options: `ignore` takes patterns of `fnmatch` for paths relative to `folder`, where `*` stands
            for any characters, `/` included; a pattern that matches a folder leaves out all below it.
            `read` says where links may lead.

    Raises:
        DatasetError: the folder is missing or empty, a class name cannot be prompted, there are
            fewer than two classes, split folders have others beside them, there are no class folders
            to train on, or a split has two classes that differ only in case and another has one.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"there is no folder {folder}; write imagefolder:PATH with one, {_LAYOUTS}"
        )
    walk = FolderWalk(folder, options)
    folders, notes = _find_class_folders(folder, walk)
    name_of, spelling_notes = _reconcile_names(folder, folders)
    classes = _classes_with_images(folder, folders, name_of=name_of, read=options.read)
    empty = [each for each in folders if name_of[each.name] not in classes]
    walk.exclude((path for each in empty for path in each.files), NOT_AN_IMAGE)
    if len(classes) < 2:
        raise DatasetError(_too_few(folder, walk, folders, classes))
    told = read_dataset_files(folder, classes, options)
    label_of = {name: label for label, name in enumerate(classes)}
    source = ImageSource(
        name=options.name or told.name or name_of_folder(folder),
        folder=folder,
        class_names=name_classes(classes, given=told.class_names),
        templates=told.templates or TEMPLATES,
        files=tuple(
            LabelledFile(path, label=label_of[name_of[each.name]], split=each.split)
            for each in folders
            if name_of[each.name] in label_of
            for path in each.files
        ),
        excluded=tuple(walk.excluded),
        read=options.read,
        class_folders=tuple(None if each in told.class_names else each for each in classes),
        class_prompts=tuple(told.prompts.get(each, ()) for each in classes) if told.prompts else (),
        licence=told.licence,
        citation=told.citation,
    )
    left_out = _left_out_notes(folder, walk, empty)
    said = (*notes, *spelling_notes, *left_out, *told.notes, *naming_notes(source))
    return replace(source, notes=said)


def _find_class_folders(folder: Path, walk: FolderWalk) -> tuple[list[_ClassFolder], list[str]]:
    """The class folders, and what was assumed to find them."""
    top = walk.listing()
    walk.excluded += top.left_out
    walk.exclude_outside(path for path in top.files if path != NAME_IN_FOLDER)
    walk.exclude((path for path in top.files if path == NAME_IN_FOLDER), _DESCRIBES)
    tops = sorted(top.folders + top.refused)
    splits = {path: split for path in tops if (split := SPLIT_NAMES.get(path.lower()))}
    divided = [
        path for path in splits if path in top.refused or walk.listing(path)[1:3] != ([], [])
    ]
    beside = [path for path in tops if path not in splits]
    others = [path for path in beside if not _is_bare(walk, path)]
    if divided and not others:
        folders, notes = _list_splits(folder, walk, splits)
        return folders + [_class_folder(walk, path, split=None) for path in beside], notes
    is_divided = "train" in {splits[path] for path in divided} and (
        len(set(splits.values())) > 1 or _holds_the_classes(walk, divided, others)
    )
    if is_divided:
        flags = " ".join(f"--ignore {shlex.quote(glob.escape(path))}" for path in others[:_SHOWN])
        raise DatasetError(
            f"{folder} has the splits {_listed(splits)} and beside them {_listed(others)}: leave "
            f"these out ({flags}), or rename the split folders if all are classes; {_LAYOUTS}"
        )
    notes = [
        f"{path}/ is read as a class, with the folders in it, since {_listed(others)} are no splits; "
        "if it holds the classes, leave the others out (--ignore)"
        for path in divided
    ]
    return [_class_folder(walk, path, split=None) for path in tops], notes


def _holds_the_classes(walk: FolderWalk, train: Sequence[str], others: Sequence[str]) -> bool:
    """Whether the folders in train, rather than train and the folders beside it, are the classes.

    A class that is called train, as among vehicles, has images of its own or another class beside it.
    """
    inside = [walk.listing(path) for path in train if path not in walk.listing().refused]
    return (
        any(len(each.folders + each.refused) > 1 for each in inside)
        and not any(walk.images_among(each.files) for each in inside)
        and not any(
            path in walk.listing().refused or walk.looks_like_class(path) for path in others
        )
    )


def _is_bare(walk: FolderWalk, path: str) -> bool:
    """Whether a folder holds neither files nor folders."""
    return path not in walk.listing().refused and walk.listing(path)[:3] == ([], [], [])


def _class_folder(walk: FolderWalk, path: str, *, split: Split | None) -> _ClassFolder:
    parent, _, name = path.rpartition("/")
    # A link that may not be followed is itself the one file of its class, which cannot be read.
    files = [path] if path in walk.listing(parent).refused else walk.files_below(path)
    return _ClassFolder(unicodedata.normalize("NFC", name), split, files)


def _list_splits(
    folder: Path, walk: FolderWalk, splits: Mapping[str, Split]
) -> tuple[list[_ClassFolder], list[str]]:
    inside = {path: _names_in_split(folder, walk, path) for path in splits}
    train = set[str]().union(*(inside[path] for path in splits if splits[path] == "train"))
    if not train:
        raise DatasetError(
            f"{folder} has the splits {_listed(splits)} but no 'train' with class folders, which "
            "label the images; rename or add a folder, or use class/image without splits"
        )
    folders, notes = [], []
    for path, split in splits.items():
        if split == "train" or inside[path].keys() & train:
            found = _list_split(walk, path, split=split)
            folders += found
            lacking = [name for key, name in inside[path].items() if key not in train]
            if lacking:
                notes.append(f"train has no images of {_listed(lacking)}, which {path}/ has")
        else:
            notes.append(_leave_unlabelled(walk, path))
    if not any(each.files for each in folders if each.split == "test"):
        parts = (
            "train and test"
            if any(each.split == "val" and each.files for each in folders)
            else "train, val and test"
        )
        notes.append(
            f"{folder} has no labelled test images: those of train are divided into {parts}"
        )
        folders = [each._replace(split=None) if each.split == "train" else each for each in folders]
    return folders, notes


def _names_in_split(folder: Path, walk: FolderWalk, path: str) -> dict[str, str]:
    """The names of the class folders in a split folder, by their form without case."""
    if path in walk.listing().refused:
        raise DatasetError(
            f"{folder / path} is a link to {os.path.realpath(folder / path)}, out of {folder}; say "
            "below which folder links may lead (--follow-links ROOT), or put the folder itself there"
        )
    listing = walk.listing(path)
    names = [inner.rpartition("/")[2] for inner in sorted(listing.folders + listing.refused)]
    return {_caseless(name): name for name in names}


def _list_split(walk: FolderWalk, path: str, *, split: Split) -> list[_ClassFolder]:
    listing = walk.listing(path)
    walk.excluded += listing.left_out
    walk.exclude_outside(listing.files)
    inner = sorted(listing.folders + listing.refused)
    return [_class_folder(walk, each, split=split) for each in inner]


def _leave_unlabelled(walk: FolderWalk, path: str) -> str:
    files = walk.files_below(path)
    walk.exclude(files, "no label")
    if not files:
        return f"{path}/ is empty and left out"
    found = "class folders that train has" if walk.listing(path).folders else "class folders"
    return (
        f"{path}/ has {len(files):,} files without {found}: they have no label and are left for "
        "prediction"
    )


def _caseless(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _reconcile_names(
    folder: Path, folders: Sequence[_ClassFolder]
) -> tuple[dict[str, str], list[str]]:
    """The class of each folder name, where splits may spell a name in different cases."""
    spellings: dict[str, dict[str, set[Split | None]]] = defaultdict(lambda: defaultdict(set))
    for each in folders:
        if each.files:
            spellings[_caseless(each.name)][each.name].add(each.split)
    name_of = {each.name: each.name for each in folders}
    notes = []
    for names in spellings.values():
        splits = list(names.values())
        if len(set[Split | None]().union(*splits)) == sum(map(len, splits)):  # no split has two
            chosen = min(names, key=lambda name: min(map(_rank, names[name])))
            name_of |= dict.fromkeys(names, chosen)
            if len(names) > 1:
                notes.append(f"class folders {_listed(sorted(names))} are one class, {chosen!r}")
        elif any(found != splits[0] for found in splits):
            raise DatasetError(
                f"the class folders {_listed(sorted(names))} of {folder} differ only in case, and not every "
                "split has all of them; rename them, so that each class has one name"
            )
        else:
            notes.append(
                f"class folders {_listed(sorted(names))} differ only in case and are {len(names)} classes"
            )
    return name_of, notes


def _rank(split: Split | None) -> int:
    return 0 if split is None else SPLITS.index(split)


def _classes_with_images(
    folder: Path, folders: Sequence[_ClassFolder], *, name_of: Mapping[str, str], read: ReadOptions
) -> list[str]:
    with FolderReader(folder, read) as reader:
        found = {name_of[each.name] for each in folders if may_hold_image(reader, each.files)}
    return sorted(found)


def _left_out_notes(folder: Path, walk: FolderWalk, empty: Sequence[_ClassFolder]) -> list[str]:
    names = sorted({each.name for each in empty})
    notes = [f"folders without images are left out: {_listed(names)}"] if names else []
    return notes + [
        f"--ignore {pattern!r} matches nothing in {folder}" for pattern in walk.unmatched
    ]


def _too_few(
    folder: Path, walk: FolderWalk, folders: Sequence[_ClassFolder], classes: Sequence[str]
) -> str:
    counts = Counter(file.reason for file in walk.excluded).most_common()
    unused = f"; not used: {', '.join(f'{n} {reason}' for reason, n in counts)}" if counts else ""
    if not classes:
        return f"{folder} holds no class folders; {_LAYOUTS}{unused}"
    only = next(each for each in folders if each.name == classes[0])
    inner = walk.listing(classes[0]).folders if classes[0] in walk.listing().folders else []
    deeper = f"; if {_listed(inner)} are the classes, write imagefolder:{folder / only.name}"
    return (
        f"{folder} has the one class {classes[0]!r}; classifying takes two"
        f"{deeper if len(inner) > 1 else ''}{unused}"
    )


def _listed(names: Iterable[str]) -> str:
    every = [repr(name) for name in names]
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more


def name_of_folder(folder: Path) -> str:
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
