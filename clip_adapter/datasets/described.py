"""Opens a published dataset as its description says: CoOp's layout, or that of its archives."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath

from clip_adapter.datasets.dataset_file import decode_text
from clip_adapter.datasets.descriptions import DatasetDescription
from clip_adapter.datasets.folder_walk import FolderWalk
from clip_adapter.datasets.sources import FolderOptions, ImageSource, LabelledFile
from clip_adapter.datasets.splits import (
    SPLITS,
    PublishedRow,
    Split,
    read_published_split,
    safe_path,
)
from clip_adapter.errors import DatasetError
from clip_adapter.images import DEFAULT_OPTIONS, ReadOptions, has_image_suffix

_LOOKED_AT = 500  # listed images of which one has to be there
_MAX_LIST_BYTES = 2**26  # that of Food101 has two megabytes


@dataclass(frozen=True, kw_only=True)
class FoundDataset:
    """What is there of a described dataset.

    Attributes:
        described: description of the dataset.
        images: folder of the images; None where none of them is there.
        lists: the split file, or text files, that say which image has which class and split; empty if
            there are none.
        rows: what the lists say, in the order train, val, test.
    """

    described: DatasetDescription
    images: Path | None
    lists: tuple[Path, ...]
    rows: tuple[PublishedRow, ...]

    @property
    def has_split_file(self) -> bool:
        """Whether the published split file is there; False if none is published."""
        return self.described.split_file in {file.name for file in self.lists}

    @property
    def has_published_splits(self) -> bool:
        """Whether its images are divided as published: by the split file if there is one, else by its lists."""
        if self.described.split_file:
            return self.has_split_file
        return bool(self.lists) or not self.described.lists

    @property
    def is_present(self) -> bool:
        """Whether its images are there, with what labels and divides them."""
        is_labelled = bool(self.lists) or (
            self.described.class_folders != "no" and not self.described.needs_split_file
        )
        return self.images is not None and is_labelled


def open_described(
    described: DatasetDescription, folder: Path, read: ReadOptions = DEFAULT_OPTIONS
) -> ImageSource:
    """The dataset in `folder`, or in the folder that its archive unpacks to inside it.

    With the published split file beside or above the images, its file list and splits are used, and
    files it does not list are excluded. Without it, the text lists of the dataset are used, else
    its split folders; else every image in a class folder counts and is assigned a split by
    `assign_splits`. Files beside the class folders are not looked at.

    Raises:
        DatasetError: the images or what labels them are missing, a class folder holds no images or is
            a link out that may not be followed, or a list is malformed or has other labels.
    """
    found = find_described(described, folder)
    if found.images is None:
        raise DatasetError(_not_found(found, folder))
    walk = FolderWalk(found.images, FolderOptions(read=read))
    if found.rows:
        _check_links(described, found.images, walk)
        names = _names(described, found.rows)
        files = tuple(
            LabelledFile(row.path, label=row.label, split=row.split) for row in found.rows
        )
        reason = "not in the split file" if len(found.lists) == 1 else "not in the lists"
        listed = {row.path for row in found.rows}
        walk.exclude((path for path in _beside(found, walk) if path not in listed), reason)
    else:
        names, files = _list_folders(described, found.images, walk, folder)
    return ImageSource(
        name=described.name,
        folder=found.images,
        class_names=names,
        templates=described.templates,
        files=files,
        excluded=tuple(walk.excluded),
        notes=tuple(_notes(found, files, n_classes=len(names))),
        read=read,
        licence=described.licence,
        citation=described.citation,
    )


def find_described(described: DatasetDescription, folder: Path) -> FoundDataset:
    """Look for the images and lists of a dataset; images are neither listed nor read.

    Raises:
        DatasetError: a list is malformed, or some class folders are there and others are missing.
    """
    read: dict[tuple[Path, ...], tuple[PublishedRow, ...]] = {}
    seen = FoundDataset(described=described, images=None, lists=(), rows=())
    for inner in described.images:
        place = folder / inner
        lists = _find_lists(described, (place, place.parent, folder, folder.parent))
        if lists not in read:
            read[lists] = _read_lists(described, lists)
        is_there = _holds_images(described, place, read[lists])
        found = FoundDataset(
            described=described,
            images=place if is_there else None,
            lists=lists,
            rows=read[lists],
        )
        if is_there:
            return found
        seen = seen if seen.rows else found
    return seen


def listed_source(described: DatasetDescription, folder: Path) -> ImageSource | None:
    """What the lists of a dataset say, whether or not its images are there; None without lists.

    Raises:
        DatasetError: a list is malformed or has other labels.
    """
    found = find_described(described, folder)
    if not found.rows:
        return None
    return ImageSource(
        name=described.name,
        folder=found.images or folder,
        class_names=_names(described, found.rows),
        templates=described.templates,
        files=tuple(LabelledFile(row.path, label=row.label, split=row.split) for row in found.rows),
    )


def how_to_get(described: DatasetDescription) -> str:
    """How to get a dataset, in a part of a sentence."""
    return f"`clip-adapter datasets fetch {described.name}` downloads it or says how to get it"


def split_file_from(described: DatasetDescription) -> str:
    """The name of the split file, and the address where it can be had if that is known."""
    urls = [each.url for each in described.downloads if each.file_name == described.split_file]
    at = next((each for each in (*urls, described.split_file_at) if each), None)
    return f"{described.split_file} from {at}" if at else str(described.split_file)


# Which lists there are, and what they say


def _find_lists(described: DatasetDescription, places: Sequence[Path]) -> tuple[Path, ...]:
    """The split file in the first place that has it, else the text lists if all are there."""
    if described.split_file:
        for place in places:
            if (place / described.split_file).is_file():
                return (place / described.split_file,)
    names = [*described.lists.values(), *([described.class_list] if described.class_list else [])]
    if not described.lists or described.needs_split_file:
        return ()
    # Each for itself: SUN397 has its list of classes among the images and the others beside them.
    found = [next((p / name for p in places if (p / name).is_file()), None) for name in names]
    return tuple(each for each in found if each)[: len(described.lists)] if all(found) else ()


def _read_lists(described: DatasetDescription, lists: tuple[Path, ...]) -> tuple[PublishedRow, ...]:
    if not lists:
        return ()
    if lists[0].name == described.split_file:
        rows = read_published_split(lists[0])
        _check_rows(described, rows, split_file=lists[0])
    else:
        rows = _read_text_lists(described, lists)
    labels = {row.label for row in rows}
    absent = set(range(len(described.classes) or len(labels))) - labels
    if absent:
        label = min(absent)
        name = described.classes[label][0] if described.classes else f"number {label}"
        raise DatasetError(f"{lists[0]} lists no image of class {name!r}")
    return rows


def _check_rows(
    described: DatasetDescription, rows: Iterable[PublishedRow], *, split_file: Path
) -> None:
    """Raise unless each row has the label and name of its class, and lies in its class folder."""
    if not described.classes:
        return
    labels = {folder: label for label, (folder, _) in enumerate(described.classes)}
    for row in rows:
        label = min(row.label, len(labels) - 1)
        if described.class_folders == "yes":
            folder = row.path.partition("/")[0]
            if folder not in labels:
                raise DatasetError(
                    f"{split_file} lists {row.path!r:.200}, which lies in none of {_some(labels)}"
                )
            label = labels[folder]
        expected, found = (label, described.class_names[label]), (row.label, row.class_name)
        if found != expected and (row.label, _prompted(row.class_name)) != expected:
            raise DatasetError(
                f"{split_file} gives {row.path!r:.200} the label and class {found}, expected {expected}; "
                "use CoOp's published file or remove it"
            )


def _read_text_lists(
    described: DatasetDescription, lists: tuple[Path, ...]
) -> tuple[PublishedRow, ...]:
    """The rows of text lists: a path a line, and after a space the class, else that of the folder."""
    known = [folder for folder, _ in described.classes] or _class_list(described, lists)
    labels = {each: label for label, each in enumerate(known)}
    by_split: dict[Split, list[PublishedRow]] = {split: [] for split in SPLITS}
    for split, file in zip(described.lists, lists, strict=True):
        for number, line in enumerate(_lines(file)):
            path, _, rest = line.partition(" ")
            path = described.list_path.replace("{}", path.lstrip("/"))
            path = safe_path(path, where=(file, split, number))
            key = rest.strip() or str(PurePosixPath(path).parent)
            if key not in labels:
                raise DatasetError(
                    f"{file} lists {path!r:.200} of class {key!r:.200}, which is none of {_some(labels)}"
                )
            name = described.class_names[labels[key]] if described.classes else key
            by_split[split].append(PublishedRow(path, labels[key], name, split))
    rows = tuple(row for split in SPLITS for row in by_split[split])
    twice = [path for path, count in Counter(row.path for row in rows).items() if count > 1]
    if twice:
        raise DatasetError(f"{twice[0]!r:.200} is listed twice in {', '.join(map(str, lists))}")
    return rows


def _class_list(described: DatasetDescription, lists: tuple[Path, ...]) -> list[str]:
    places = (lists[0].parent, *(lists[0].parent / inner for inner in described.images))
    file = next(p for p in (each / str(described.class_list) for each in places) if p.is_file())
    return [line.lstrip("/") for line in _lines(file)]


def _lines(file: Path) -> list[str]:
    with file.open("rb") as stream:
        data = stream.read(_MAX_LIST_BYTES + 1)
    text = decode_text(data, str(file), limit=_MAX_LIST_BYTES)
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line]


def _names(described: DatasetDescription, rows: Iterable[PublishedRow]) -> tuple[str, ...]:
    """The class names as prompted, by label."""
    if described.classes:
        return described.class_names
    names = {row.label: row.class_name for row in rows}
    return tuple(_prompted(_from_folder(described, names[label])) for label in sorted(names))


def _from_folder(described: DatasetDescription, name: str) -> str:
    if described.names_from_folders == "reversed" and "/" in name:
        return " ".join(reversed(name.split("/")[1:]))
    return name


def _prompted(name: str) -> str:
    return name.replace("_", " ")


# Where the images are


def _holds_images(described: DatasetDescription, place: Path, rows: Sequence[PublishedRow]) -> bool:
    """Whether a folder is that of the images.

    Raises:
        DatasetError: some class folders are there and others are missing.
    """
    if described.class_folders == "no":
        some = rows[:: max(1, len(rows) // _LOOKED_AT)]
        # Unlike pathlib, os.path raises no error for a name that is longer than names can be.
        return any(os.path.exists(place / row.path) for row in some)  # noqa: PTH110
    expected = [*product(described.split_folders.values(), described.classes)]
    paths = [str(PurePosixPath(part, folder)) for part, (folder, _) in expected]
    missing = [path for path in paths if not (place / path).is_dir()]
    if len(missing) == len(paths):
        return False
    if missing and described.n_classes == len(described.classes):
        raise DatasetError(
            f"{place} holds {described.title} without the class folders {_some(missing)}; unpack the "
            f"archive again ({described.homepage})"
        )
    return True


def _not_found(found: FoundDataset, folder: Path) -> str:
    described = found.described
    places = ", ".join(str(folder / inner) for inner in described.images)
    title = described.title
    if described.class_folders == "no" and not found.rows:
        wanted = described.split_file or ", ".join(described.lists.values())
        source = split_file_from(described) if described.split_file else described.homepage
        return (
            f"{title} was not found: looked in {places}, beside and above for {wanted}, which says "
            f"which image has which class. Put it into {folder} ({source}); {how_to_get(described)}"
        )
    if described.class_folders == "no":
        looked_for = f"{found.rows[0].path:.200} and the other images of {found.lists[0].name}"
    else:
        folders = [each for each, _ in described.classes]
        looked_for = f"the class folders {_some(folders)}"
    return (
        f"{title} was not found: looked in {places} for {looked_for}. Download it from "
        f"{described.homepage} and unpack it into {folder}, or name the folder that holds it "
        f"(--images), or the one above it (--data, CLIP_ADAPTER_DATA); {how_to_get(described)}"
    )


# Which images there are


def _list_folders(
    described: DatasetDescription, place: Path, walk: FolderWalk, folder: Path
) -> tuple[tuple[str, ...], tuple[LabelledFile, ...]]:
    """The images in class folders, perhaps below split folders."""
    if described.needs_split_file:
        raise DatasetError(
            f"{described.title} in {place} has no {described.split_file}, without which its images "
            f"cannot be divided: put {split_file_from(described)} into {folder}; "
            f"{how_to_get(described)}"
        )
    _check_links(described, place, walk)
    classes = [
        (each, name)
        for each, name in described.classes
        if any((place / part / each).is_dir() for part in described.split_folders.values())
    ]
    files = []
    for (split, part), (label, (each, _)) in product(
        described.split_folders.items(), enumerate(classes)
    ):
        path = str(PurePosixPath(part, each))
        paths = walk.files_below(path) if (place / path).is_dir() else []
        if not any(map(has_image_suffix, paths)):
            raise DatasetError(f"{place / path} holds no images; unpack the archive again")
        files += [LabelledFile(file, label=label, split=split) for file in paths]
    return tuple(name for _, name in classes), tuple(files)


def _check_links(described: DatasetDescription, place: Path, walk: FolderWalk) -> None:
    """Raise if a split folder or class folder is a link that may not be followed."""
    if described.class_folders == "no":
        return
    own = {folder for folder, _ in described.classes}
    for part in described.split_folders.values():
        above = str(PurePosixPath(part).parent) if part else ""
        refused = [
            each for each in walk.listing("" if above == "." else above).refused if each == part
        ]
        if not refused:
            inside = walk.listing(part).refused
            refused = [each for each in inside if each.rpartition("/")[2] in own]
        if refused:
            link = place / refused[0]
            raise DatasetError(
                f"{link} is a link to {link.resolve()}, out of {place}; say below which folder links "
                "may lead (--follow-links ROOT), or put the folder itself there"
            )


def _beside(found: FoundDataset, walk: FolderWalk) -> Iterable[str]:
    """All files in the folders of which a list names files."""
    tops = dict.fromkeys(
        row.path.partition("/")[0] if "/" in row.path else "" for row in found.rows
    )
    listing = walk.listing()
    for top in tops:
        if not top:
            yield from listing.files
        elif top in listing.folders:
            yield from walk.files_below(top)


# What is said about it


def _notes(found: FoundDataset, files: Sequence[LabelledFile], *, n_classes: int) -> Iterable[str]:
    described = found.described
    title = described.title
    if not found.has_published_splits:
        how = (
            f"the splits of {title} are those of {', '.join(each.name for each in found.lists)}"
            if found.lists
            else f"the images of each class of {title} are divided by their contents"
        )
        lacking = described.split_file or ", ".join(described.lists.values())
        source = split_file_from(described) if described.split_file else described.homepage
        yield (
            f"without {lacking}, {how}: numbers do not compare with those of its "
            f"published split ({source})"
        )
    if n_classes != described.n_classes:
        yield f"{title} has {described.n_classes} classes as published, and {n_classes} here"
    counts = Counter(file.split for file in files)
    here = {split: counts[split] for split in SPLITS if counts[split]}
    if found.has_published_splits and described.counts and here != described.counts:
        yield (
            f"{title} has {_counts(described.counts)} images as published, and {_counts(here)} here: "
            "numbers do not compare with published ones"
        )


def _counts(counts: Mapping[Split, int]) -> str:
    return ", ".join(f"{n:,} {split}" for split, n in counts.items())


def _some(names: Iterable[str]) -> str:
    """The first ten of the names, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - 10} more" if len(every) > 10 else ""
    return ", ".join(every[:10]) + more
