"""Few-shot choices that others have published, as files of image paths."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from clip_adapter.datasets.errors import DatasetError, SplitFileError
from clip_adapter.datasets.fewshot import FewShotSplit
from clip_adapter.datasets.index import DatasetIndex


def read_few_shot_indices(
    folder: Path, index: DatasetIndex, *, shots: int, seed: int
) -> FewShotSplit:
    """The choice in `folder/shot_{shots}-seed_{seed}.json`, found again among a dataset's images.

    The form is that of cross-modal adaptation (Lin et al. 2023,
    https://github.com/linzhiqiu/cross_modal_adaptation): `train` and `val`, each with a list
    `data` (or a list itself) of objects with `impath` and `label`. A path counts by its end: what
    follows the longest folder the dataset does not know. Nothing outside the dataset is opened.

    Raises:
        SplitFileError: the file is absent, malformed, names an image that the index does not
            hold or holds under another label or in its test split, an image that is given
            to train and val, or not `shots` training images of every class.
        DatasetError: `shots` is below 1, or `seed` below 0.
    """
    if shots < 1 or seed < 0:
        raise DatasetError(f"shots is {shots} and seed {seed}; expected 1 or more, and 0 or more")
    path = folder / f"shot_{shots}-seed_{seed}.json"
    content = _read(path)
    by_path = {stored: row for row, stored in enumerate(index.paths)}
    train, val = (_rows(content, part, by_path, index, path) for part in ("train", "val"))
    _check(train, val, index=index, shots=shots, path=path)
    return FewShotSplit(shots, seed, train_rows=_column(train), val_rows=_column(val))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SplitFileError(
            f"{path} cannot be read ({error.strerror}): expected one file for each number of "
            "shots and each seed, shot_{K}-seed_{S}.json"
        ) from error
    except ValueError as error:
        raise SplitFileError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise SplitFileError(f"{path} holds a {type(content).__name__}, expected an object")
    return content


def _rows(
    content: dict[str, Any], part: str, by_path: dict[str, int], index: DatasetIndex, path: Path
) -> list[int]:
    items = content.get(part)
    items = items.get("data") if isinstance(items, dict) else items
    if not isinstance(items, list):
        raise SplitFileError(f"{path} has no list of images under {part!r}")
    return [_row(item, by_path, index, path) for item in items]


def _row(item: Any, by_path: dict[str, int], index: DatasetIndex, path: Path) -> int:
    known = isinstance(item, dict) and isinstance(item.get("impath"), str)
    if not known or type(item.get("label")) is not int:
        raise SplitFileError(f"{path}: {item!r} is no image, expected impath and label")
    row = _find(item["impath"], by_path)
    if row is None:
        raise SplitFileError(
            f"{path} names {item['impath']!r}, which is no readable image of dataset "
            f"{index.source.name!r}"
        )
    if index.labels[row] != item["label"]:
        raise SplitFileError(
            f"{path} gives {item['impath']!r} the label {item['label']!r}, in the dataset it "
            f"has {int(index.labels[row])}"
        )
    if index.splits[row] == "test":
        raise SplitFileError(f"{path} names {item['impath']!r}, an image of the test split")
    return row


def _find(published: str, by_path: dict[str, int]) -> int | None:
    parts = PurePosixPath(published).parts
    ends = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((by_path[end] for end in ends if end in by_path), None)


def _check(
    train: list[int], val: list[int], *, index: DatasetIndex, shots: int, path: Path
) -> None:
    digests = [index.image_sha256[row] for row in (*train, *val)]
    if len(set(digests)) < len(digests):
        raise SplitFileError(f"{path} chooses an image twice; each trains or validates once")
    counts = np.bincount(index.labels[train], minlength=len(index.source.class_names))
    if set(counts.tolist()) != {shots}:
        wrong = int(np.flatnonzero(counts != shots)[0])
        raise SplitFileError(
            f"{path} chooses {counts[wrong]} training images of class "
            f"{index.source.class_names[wrong]!r}, expected {shots}"
        )


def _column(rows: list[int]) -> np.ndarray:
    column = np.asarray(rows, dtype=np.int64)
    column.setflags(write=False)
    return column
