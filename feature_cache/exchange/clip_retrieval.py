"""The folder that clip-retrieval's inference writes, read and written.

`img_emb/img_emb_<k>.npy` (float16, each row of norm 1), `metadata/metadata_<k>.parquet` (one row
an image: `image_path`, `caption`, and what img2dataset knew, as `url`, `key`, `sha256`) and,
where there were captions, `text_emb/text_emb_<k>.npy` (one row a caption). The numbers are padded
with zeros to the width of the number of partitions. Source:
https://github.com/rom1504/clip-retrieval, clip_retrieval/clip_inference/writer.py and mapper.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from feature_cache.exchange.arrays import MAX_BYTES
from feature_cache.exchange.checks import as_matrix
from feature_cache.exchange.classes import labels_and_names
from feature_cache.exchange.damage import damage_named
from feature_cache.exchange.errors import (
    ForeignFileError,
    InvalidForeignFeaturesError,
    MissingArrayError,
)
from feature_cache.exchange.labelled_features import FoundArrays, LabelledFeatures, take_in
from feature_cache.exchange.shards import (
    METADATA,
    Sort,
    join_shards,
    map_shards,
    numbered,
    read_columns,
)

IMAGES = Sort("img_emb", ".npy")
TEXTS = Sort("text_emb", ".npy")
_SAME_TEXT = 2e-3
"""One caption, normalised in half precision and encoded in other company, moves by less."""


@dataclass(frozen=True)
class MetadataColumns:
    """Which columns of the metadata say what; None leaves one unread.

    A column of the usual name may be absent; one of a name that you gave may not.

    Attributes:
        label: Whole numbers from 0, or class names.
        class_name: The name of each row's class.
        split: "train", "val" or "test".
        image_path: The image's path or key.
        sha256: The image's SHA-256 in hexadecimal; img2dataset's is that of the file as it was
            downloaded, before img2dataset resized it.
    """

    label: str | None = "label"
    class_name: str | None = "class_name"
    split: str | None = "split"
    image_path: str | None = "image_path"
    sha256: str | None = "sha256"

    def required(self) -> set[str]:
        """The columns whose names were given."""
        given, usual = vars(self), vars(MetadataColumns())
        return {name for role, name in given.items() if name and name != usual[role]}


@dataclass(frozen=True)
class ReadingRules:
    """How a folder without labels of its own is understood.

    Attributes:
        columns: Which columns say what.
        class_from_folder: Without a label or class name, take the name of the folder that the
            image lies in.
        text_by_class: Take `text_emb` as text features of the classes; the rows of one class must
            be alike. Else it stays unread: clip-retrieval puts one caption an image there.
        max_bytes: The most that the shards of one sort may take in memory.
    """

    columns: MetadataColumns = MetadataColumns()
    class_from_folder: bool = False
    text_by_class: bool = False
    max_bytes: int = MAX_BYTES


def read_clip_retrieval(
    folder: Path,
    *,
    rules: ReadingRules = ReadingRules(),
    class_names: Sequence[str] | None = None,
    source: str | None = None,
) -> LabelledFeatures:
    """Read a folder that clip-retrieval, or `write_clip_retrieval`, wrote.

    Args:
        folder: The folder that holds `img_emb`.
        rules: Which metadata are labels, and what else to read.
        class_names: The classes in the order of their labels; by default those of the metadata,
            sorted where no labels number them.
        source: What to call the features; the folder's name by default.

    Raises:
        MissingArrayError: No shards, no labels, or a column that was named is not there.
        PickledArrayError, OversizedFileError: As `read_npz`.
        ForeignFileError: A shard without its metadata, of another length or width, damaged, or
            not labelled features; names the file.
    """
    source = source or folder.resolve().name
    with damage_named(folder):
        shards = map_shards(_paths(folder, IMAGES), max_bytes=rules.max_bytes)
        columns = _read_metadata(folder, [len(shard) for shard in shards], rules)
        row_names = columns.get("class_name")
        if rules.class_from_folder and not {"label", "class_name"} & set(columns):
            row_names = _folder_names(columns.get("image_path"), source)
        labels, names = labels_and_names(
            columns.get("label"), row_names, class_names=class_names, source=source
        )
        found = FoundArrays(
            features=join_shards(shards),
            labels=labels,
            class_names=names,
            splits=columns.get("split"),
            image_sha256=columns.get("sha256"),
            paths=columns.get("image_path"),
        )
        foreign = take_in(found, source=source)
        return _with_texts(foreign, folder, rules) if rules.text_by_class else foreign


def _paths(folder: Path, sort: Sort) -> list[Path]:
    """The shards of a sort, each of which must be there for each shard of images."""
    images, found = numbered(folder, IMAGES), numbered(folder, sort)
    if not images or set(images) != set(found):
        odd = sorted(set(images) ^ set(found))
        raise MissingArrayError(
            folder / sort.name,
            f"it lacks or has too many of the shards {odd[:10]}, expected one for each file of "
            f"{IMAGES.name}: export again, or import what belongs together"
            if images
            else f"there is no {IMAGES.name}/{IMAGES.name}_<number>.npy: give the folder above",
        )
    return list(found.values())


def _read_metadata(folder: Path, rows: list[int], rules: ReadingRules) -> dict[str, Any]:
    """The columns of all metadata files by role, without those that none of them has."""
    roles = {name: role for role, name in vars(rules.columns).items() if name}
    parts: dict[str, list[Any]] = {}
    paths = _paths(folder, METADATA)
    for path, n_rows in zip(paths, rows, strict=True):
        columns = read_columns(path, list(roles), rows=n_rows, max_bytes=rules.max_bytes)
        lacking = rules.columns.required() - set(columns)
        if lacking or (parts and {roles[name] for name in columns} != set(parts)):
            wanted = lacking or {name for name in roles if roles[name] in parts} ^ set(columns)
            raise MissingArrayError(
                path, f"it has no column {sorted(wanted)}, or others lack it: say which to read"
            )
        for name, values in columns.items():
            parts.setdefault(roles[name], []).append(values)
    joined = {role: _joined(values) for role, values in parts.items()}
    if all(digest is None for digest in joined.get("sha256", ())):  # none were computed
        joined.pop("sha256", None)
    return joined


def _joined(parts: list[Any]) -> Any:
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return [value for part in parts for value in part]


def _folder_names(paths: Any, source: str) -> list[str]:
    names = [PurePosixPath(str(path)).parent.name for path in paths or ()]
    if not names or not all(names):
        raise InvalidForeignFeaturesError(
            source, "some image_path names no folder to take the class from: give a class_name"
        )
    return names


def _with_texts(foreign: LabelledFeatures, folder: Path, rules: ReadingRules) -> LabelledFeatures:
    paths = _paths(folder, TEXTS)
    rows = join_shards(map_shards(paths, max_bytes=rules.max_bytes))
    classes, firsts = np.unique(foreign.labels, return_index=True)
    if rows.shape != foreign.features.shape or len(classes) != len(foreign.class_names):
        raise ForeignFileError(
            folder / TEXTS.name,
            f"it has shape {list(rows.shape)} for {len(classes)} of {len(foreign.class_names)} "
            "classes, expected a row an image and an image in every class: do not read text_emb",
        )
    text = rows[firsts]
    away = np.abs(rows.astype(np.float32) - text[foreign.labels].astype(np.float32)).max(axis=1)
    if not (away <= _SAME_TEXT).all():
        raise ForeignFileError(
            folder / TEXTS.name,
            f"row {int((away > _SAME_TEXT).argmax())} differs from the first of its class, so "
            "these are captions of images: do not read text_emb as text of the classes",
        )
    return replace(foreign, text_features=as_matrix(text, "text_features", foreign.source))
