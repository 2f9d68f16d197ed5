"""Datasets of the Hugging Face hub: Parquet files with the images inside, downloaded or local.

The images are in a column of structs with the fields `bytes` and `path`, of which `path` is never opened,
or in a binary column. The metadata of the file say which it is, and the names of the classes.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from clip_adapter.datasets.folder_walk import FolderWalk
from clip_adapter.datasets.labelled_rows import (
    MAX_CELL,
    LabelledRow,
    RowReading,
    as_text,
    choose_columns,
    source_of_rows,
    split_named_in,
)
from clip_adapter.datasets.parquet_rows import open_parquet, parquet_rows
from clip_adapter.datasets.sources import FolderOptions, ImageSource
from clip_adapter.datasets.splits import SPLIT_NAMES
from clip_adapter.errors import DatasetError, UnreadableImageError
from clip_adapter.images import ContainerReader, open_images

COLUMNS: Final = ("image", "label", "split", "group")
_REPOSITORY = re.compile(
    r"(?P<id>\w[\w.-]*/\w[\w.-]*)(?P<inside>(?:/\w[\w.-]*)*)(?:@(?P<revision>[\w./-]+))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<of>\d{5})\.parquet")
_FORM = "write hf:OWNER/NAME, hf:OWNER/NAME@REVISION, or hf:./FOLDER of a local copy"


def open_huggingface(text: str, images: Path | None, options: FolderOptions) -> ImageSource:
    """The dataset in the Parquet files of a repository of the hub, or of a local copy.

    The split of an image is that in the name of its file (`train-00000-of-00002.parquet`) or folder, else
    in the column split; without one it is decided when the images are indexed.

    Args:
        text: OWNER/NAME, perhaps with a folder and a revision (OWNER/NAME/folder@REVISION); or a local
            folder, which begins with `/`, `.` or `~`.
        images: not accepted; the images are in the Parquet files.
        options: what the user says about the dataset.

    Raises:
        DatasetError: the repository cannot be found or downloaded, files are missing or damaged, there is
            no column of images or labels, or the files hold no dataset.
    """
    if images is not None:
        raise DatasetError("the images of hf:NAME are in its Parquet files; drop --images")
    folder, notes = (Path(text).expanduser(), []) if is_local(text) else _download(text)
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}; {_FORM}")
    reading = RowReading(f"hf:{text}", options)
    walk = FolderWalk(folder, FolderOptions(read=options.read))
    found = [each for each in walk.files_below("") if each.lower().endswith(".parquet")]
    files = [each for each in found if not reading.is_ignored(each)]
    if not files:
        raise DatasetError(
            f"{folder} has no Parquet files{' that are not ignored' if found else ''}; a folder of image "
            "files is imagefolder:PATH"
        )
    _check_complete(files, folder)
    _check_one_configuration(files, folder)
    order: dict[str, None] = {}
    with open_images(folder, options.read) as reader:
        for file in files:
            for row in _rows(reader, file, options, order):
                reading.add(row)
    return source_of_rows(
        reading, name=name_of_repository(text), folder=folder, order=list(order), notes=notes
    )


def is_local(text: str) -> bool:
    """Whether a text is the path of a folder and not the name of a repository."""
    return text.startswith(("/", ".", "~"))


def name_of_repository(text: str) -> str:
    """The name that a repository or local folder gives its dataset."""
    if not is_local(text):
        return text.partition("@")[0].split("/")[1] if "/" in text else text
    folder = Path(text).expanduser().absolute()
    cached = [each for each in (folder, *folder.parents) if each.name.startswith("datasets--")]
    return cached[0].name.rpartition("--")[2] if cached else folder.resolve().name


class _Columns(NamedTuple):
    """Columns of a file.

    Attributes:
        image: the column of images.
        others: column for label, split and group.
        class_names: names of the classes by label; empty if labels are no positions.
    """

    image: str
    others: dict[str, str]
    class_names: list[str]


def _rows(
    reader: ContainerReader, file: str, options: FolderOptions, order: dict[str, None]
) -> Iterator[LabelledRow]:
    try:
        opened = reader.open_file(file)
    except UnreadableImageError as error:
        raise DatasetError(f"{file!r:.300} cannot be read: {error.reason}") from error
    with opened:
        parquet = open_parquet(opened, what=file)
        columns = _choose(parquet.schema_arrow, options, what=file)
        order |= dict.fromkeys(columns.class_names)
        split = split_named_in(file)
        rows = parquet_rows(opened, columns.others, what=file, longest=MAX_CELL)
        for number, row in enumerate(rows):
            cells = {ours: as_text(value, what=f"{ours} in {file}") for ours, value in row.items()}
            yield LabelledRow(
                f"{file}/{columns.image}/{number:08d}",
                _class_name(cells["label"], columns.class_names, what=file),
                split or cells.get("split"),
                cells.get("group"),
            )


def _class_name(label: str | None, class_names: Sequence[str], *, what: str) -> str | None:
    """The name of a class by its position; datasets write -1 where a label is withheld."""
    if label is None or not class_names:
        return label
    if label == "-1":
        return None
    if not label.isdecimal() or len(label) > 9 or int(label) >= len(class_names):
        raise DatasetError(
            f"{what} has the label {label!r:.80}, and its metadata name {len(class_names)} classes, "
            "numbered from 0"
        )
    return class_names[int(label)]


def _choose(schema: Any, options: FolderOptions, *, what: str) -> _Columns:
    """The columns of images and labels: those that the user names, else as the metadata say."""
    from pyarrow import types  # noqa: PLC0415  # takes 0.1 s

    features = _features(schema.metadata or {})
    asked = dict(options.columns)
    holding = [
        field.name
        for field in schema
        if _is_binary(field.type)
        or (types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]
    images = [name for name, each in features.items() if each.get("_type") == "Image"]
    images = [name for name in images if name in holding]
    candidates = [asked["image"]] if "image" in asked else images or holding
    if len(candidates) > 1 and "image" in candidates:
        candidates = ["image"]
    if len(candidates) != 1 or candidates[0] not in holding:
        found = ", ".join(map(repr, holding[:8])) or "none"
        raise DatasetError(
            f"{what} has the columns {', '.join(map(repr, schema.names[:12]))}; expected one with the bytes "
            f"of images (there are {found}): name it with --columns image=NAME"
        )
    labels = [name for name, each in features.items() if each.get("_type") == "ClassLabel"]
    if "label" not in asked and "label" not in schema.names and len(labels) == 1:
        options = FolderOptions(columns=(*options.columns, ("label", labels[0])))
    others = choose_columns(
        schema.names, options, what=what, required=("label",), optional=("split", "group")
    )
    names = features.get(others["label"], {}).get("names", [])
    is_named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    class_names = [name.strip() for name in names] if is_named else []
    if len(set(class_names)) < len(class_names):
        raise DatasetError(f"the metadata of {what} name a class twice")
    return _Columns(candidates[0], others, class_names)


def _is_binary(kind: Any) -> bool:
    from pyarrow import types  # noqa: PLC0415  # takes 0.1 s

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """What the metadata of `datasets` say of each column; empty where they say nothing usable."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: each for name, each in features.items() if isinstance(each, dict)}


def _check_complete(files: Sequence[str], folder: Path) -> None:
    """Raise if a file says that there are more like it, as after a download that was cut."""
    pieces: dict[tuple[str, int], set[int]] = {}
    for file in files:
        if found := _SHARD.fullmatch(file):
            pieces.setdefault((found["stem"], int(found["of"])), set()).add(int(found["number"]))
    for (stem, of), numbers in pieces.items():
        if len(numbers) < of:
            raise DatasetError(
                f"{folder} has {len(numbers)} of the {of} files {stem}-*-of-{of:05d}.parquet; download the "
                "others, or leave these out (--ignore)"
            )


def _check_one_configuration(files: Sequence[str], folder: Path) -> None:
    places = set()
    for file in files:
        parts = file.split("/")[:-1]
        while parts and parts[-1].lower() in {*SPLIT_NAMES, "data"}:
            parts.pop()
        places.add("/".join(parts))
    if len(places) > 1:
        shown = sorted(places)
        raise DatasetError(
            f"{folder} has Parquet files of several configurations: {', '.join(map(repr, shown[:5]))}; write "
            f"one of them behind the name (hf:OWNER/NAME/{shown[-1]}), or leave others out (--ignore)"
        )


def _download(text: str) -> tuple[Path, list[str]]:
    """The folder of a revision in the cache of the hub, which is downloaded if it is not there."""
    found = _REPOSITORY.fullmatch(text)
    if found is None or ".." in text:
        is_folder = os.path.isdir(text)  # noqa: PTH112  # no error for a name that is too long
        what = (
            "is a folder: write hf:./" + text
            if is_folder
            else f"names no dataset of the Hugging Face hub: {_FORM}"
        )
        raise DatasetError(f"{text!r:.200} {what}")
    inside = found["inside"].strip("/")
    patterns = [f"{inside}/*.parquet" if inside else "*.parquet"]
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415  # takes a second
    except ImportError as error:
        raise DatasetError(f"hf:{text} takes huggingface_hub, which is not installed") from error
    try:
        snapshot = snapshot_download(
            found["id"], repo_type="dataset", revision=found["revision"], allow_patterns=patterns
        )
    except Exception as error:  # of its HTTP client, too: requests or httpx by its version
        raise DatasetError(_not_downloaded(text, found["id"], error)) from error
    folder = Path(snapshot)
    notes = []
    if _COMMIT.fullmatch(folder.name) and found["revision"] != folder.name:
        pinned = f"hf:{found['id']}{found['inside']}@{folder.name}"
        notes = [f"hf:{text} is at revision {folder.name}; write {pinned} to stay with it"]
    return folder / inside, notes


def _not_downloaded(text: str, repository: str, error: Exception) -> str:
    kind = type(error).__name__
    said = " ".join(str(error).split())[:200]
    if kind == "GatedRepoError":
        step = f"accept its terms on https://huggingface.co/datasets/{repository} and log in (hf auth login)"
    elif kind == "RepositoryNotFoundError":
        step = "look for typing errors, or log in if it is private (hf auth login)"
    elif kind == "RevisionNotFoundError":
        step = "name a branch, tag or commit that it has, or leave @REVISION out"
    else:
        step = (
            "connect to the network, or download it elsewhere (hf download --repo-type dataset "
            f"{repository}) and write hf:./FOLDER"
        )
    return f"hf:{text} cannot be downloaded ({kind}: {said}): {step}"
