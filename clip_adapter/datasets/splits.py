"""The split of an image: read from a published file, or assigned by its content."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Final, Literal, get_args

from clip_adapter.errors import DatasetError

Split = Literal["train", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = get_args(Split)
SPLIT_NAMES: Final[Mapping[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""The split that a name stands for, of a folder, a file or in a table; names are in lower case."""
Grouped = Iterable[tuple[bytes, str]]
"""Digest and group of every image that has a group."""
_TENTHS: Final[Mapping[Split, int]] = {"train": 5, "test": 3, "val": 2}  # in order of need
_SEED = b"clip-adapter splits 1"
Place = tuple[Path, Split, int]
"""Where an image is listed: the file, the split, and the position in its list."""
_PLAIN_PATH = re.compile(r"\w[\w .-]*(/\w[\w .-]*)*", re.ASCII)


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published split file: a relative POSIX path, its label, class and split."""

    path: str
    label: int
    class_name: str
    split: Split


def assign_splits(
    labelled: Iterable[tuple[bytes, int]],
    *,
    known: Mapping[bytes, Split],
    among: Sequence[Split] = SPLITS,
    groups: Grouped = (),
) -> dict[bytes, Split]:
    """Assign a split to each distinct image: 50 % train, 20 % val and 30 % test of every class.

    An image in `known` has that split, whatever else is there: an image that is added later never
    moves another between train and test. The other images of a class are ordered by SHA-256 of a
    fixed seed and their digest. One after another they go to a split without an image, else to the
    one that is furthest below its proportion (CoOp's, Zhou et al. 2022); of equals to train, then
    test, then val. So the first image of a class trains, the second tests, the third validates.

    Images of one group, of one patient or place, share a split; so do groups that have a copy of one
    image. A group goes where most of its known images are. Other groups are assigned as images are,
    the largest first, to the split that lacks most of the classes they have images of.

    With nothing known, the result depends only on the digests and which of them share a label. Images
    that are added in several steps each fill what was lacking at their time: the splits then also
    depend on these steps, and the proportions still hold.

    Args:
        labelled: digest and label of every image. Copies share a split, and so do copies with
            several labels, which count in the class of the smallest.
        known: splits by digest that are kept; it may have further images, which do not count.
        among: splits that images are assigned to, in the proportions that these have to each other.
        groups: digest and group of the images that have one.

    >>> [*assign_splits([(b"a", 0), (b"b", 0), (b"c", 0)], known={b"b": "test"}).values()]
    ['train', 'test', 'val']
    """
    labels: dict[bytes, int] = {}
    for digest, label in labelled:
        labels[digest] = min(label, labels.get(digest, label))
    counts: dict[int, Counter[Split]] = {label: Counter() for label in labels.values()}
    splits: dict[bytes, Split] = {}

    def place(unit: Sequence[bytes], split: Split) -> None:
        splits.update(dict.fromkeys(unit, split))
        for digest in unit:
            counts[labels[digest]][split] += 1

    grouped, alone = _units(labels, groups)
    waiting = []
    for unit in grouped:
        found = Counter(known[digest] for digest in unit if digest in known)
        if found:
            place(unit, _most_frequent(found))
        else:
            waiting.append(unit)
    for digest in alone:
        if digest in known:
            place([digest], known[digest])
    largest_first = sorted(waiting, key=lambda unit: (-len(unit), min(map(_rank, unit))))
    rest = sorted((digest for digest in alone if digest not in known), key=_rank)
    for unit in chain(largest_first, ([digest] for digest in rest)):
        place(unit, _most_lacking(Counter(labels[digest] for digest in unit), counts, among))
    return {digest: splits[digest] for digest in labels}


def _units(images: Iterable[bytes], groups: Grouped) -> tuple[list[list[bytes]], list[bytes]]:
    """The images that share groups, two or more together, and those that are alone."""
    unit_of = join_groups(groups)
    sizes = Counter(unit_of.values())
    units: dict[bytes, list[bytes]] = defaultdict(list)
    alone = []
    for digest in images:
        unit = unit_of.get(digest, digest)
        if sizes[unit] > 1:
            units[unit].append(digest)
        else:
            alone.append(digest)
    return list(units.values()), alone


def join_groups(groups: Grouped) -> dict[bytes, bytes]:
    """The smallest digest among the images that share a group, directly or through copies, by image.

    >>> join_groups([(b"a", "x"), (b"b", "x"), (b"b", "y"), (b"c", "y"), (b"d", "z")])
    {b'a': b'a', b'b': b'a', b'c': b'a', b'd': b'd'}
    """
    above: dict[bytes | str, bytes | str] = {}

    def top(node: bytes | str) -> bytes | str:
        while (parent := above.setdefault(node, node)) != node:
            above[node] = node = above[parent]
        return node

    images: dict[bytes, None] = {}
    for digest, group in groups:
        images[digest] = None
        above[top(digest)] = top(group)
    smallest: dict[bytes | str, bytes] = {}
    for digest in images:
        smallest[top(digest)] = min(digest, smallest.get(top(digest), digest))
    return {digest: smallest[top(digest)] for digest in images}


def spread_over_groups(splits: Mapping[bytes, Split], groups: Grouped) -> dict[bytes, Split]:
    """The split of most images of a group that have one, for all images of the group.

    Args:
        splits: splits by digest, of some images.
        groups: digest and group of the images that have one.
    """
    unit_of = join_groups(groups)
    found: dict[bytes, Counter[Split]] = defaultdict(Counter)
    for digest, unit in unit_of.items():
        if digest in splits:
            found[unit][splits[digest]] += 1
    chosen = {unit: _most_frequent(counts) for unit, counts in found.items()}
    return {digest: chosen[unit] for digest, unit in unit_of.items() if unit in chosen}


def _rank(digest: bytes) -> bytes:
    return hashlib.sha256(_SEED + digest).digest()


def _most_frequent(counts: Counter[Split]) -> Split:
    """The split of most images; of equals the one that is needed first."""
    return max(_TENTHS, key=lambda split: counts[split])


def _most_lacking(
    unit: Counter[int], counts: Mapping[int, Counter[Split]], among: Sequence[Split]
) -> Split:
    """The split that the next images belong to.

    Args:
        unit: number of these images by label.
        counts: number of images that are assigned so far, by label and split.
        among: splits to choose from.
    """
    shares = {split: tenths for split, tenths in _TENTHS.items() if split in among}
    whole = sum(shares.values())

    def need(split: Split) -> tuple[int, int]:
        n_empty = sum(counts[label][split] == 0 for label in unit)
        lacking = sum(
            n * (shares[split] * (counts[label].total() + n) - whole * counts[label][split])
            for label, n in unit.items()
        )
        return n_empty, lacking

    # `max` takes the first of equals, and integers have no rounding that could differ.
    return max(shares, key=need)


def split_by_content(image_sha256: bytes) -> Split:
    r"""The split of imported features without splits: 50 % train, 20 % val, 30 % test.

    The proportions of CoOp's splits (Zhou et al. 2022). The first 8 bytes of the digest, read as
    a fraction, decide; so an image keeps its split when others come and go, and copies of one
    image never straddle two splits. Classes are not balanced, as they are by `assign_splits`.

    Raises:
        DatasetError: `image_sha256` does not have 32 bytes.

    >>> split_by_content(bytes(32)), split_by_content(b"\xff" * 32)
    ('train', 'test')
    """
    if len(image_sha256) != 32:
        raise DatasetError(f"a SHA-256 digest has 32 bytes, found {len(image_sha256)}")
    tenths = int.from_bytes(image_sha256[:8], "big") * 10
    if tenths < 5 * 2**64:
        return "train"
    return "val" if tenths < 7 * 2**64 else "test"


def read_published_split(path: Path) -> tuple[PublishedRow, ...]:
    """The rows of a split file in CoOp's form, in the order train, val, test.

    The form: a JSON object with the keys `train`, `val` and `test`, each a list of
    `[path, label, class name]`.

    Raises:
        DatasetError: the file cannot be read, is not of that form, holds a path that is absolute
            or leaves the folder, lists a path twice, or gives one label two class names.
    """
    document = _load(path)
    rows = tuple(
        _parse_row(row, where=(path, split, number))
        for split in SPLITS
        for number, row in enumerate(_section(document, split, path=path))
    )
    _check_unique_paths(rows, path=path)
    _check_labels(rows, path=path)
    return rows


def _load(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{path} is not JSON ({error}); download the split file again"
        ) from error
    if not isinstance(document, dict):
        raise DatasetError(
            f"{path} holds a {type(document).__name__}, expected an object with the keys "
            "train, val and test"
        )
    return document


def _section(document: dict[str, object], split: Split, *, path: Path) -> Iterator[object]:
    section = document.get(split)
    if not isinstance(section, list):
        raise DatasetError(
            f"{path} has no list {split!r} (found the keys {', '.join(sorted(document)) or 'none'})"
            "; expected train, val and test, each a list of [path, label, class name]"
        )
    return iter(section)


def _parse_row(row: object, *, where: Place) -> PublishedRow:
    match row:
        case [str(file), int(label), str(name)] if name and label >= 0 and label is not True:
            return PublishedRow(safe_path(file, where=where), int(label), name, where[1])
    raise DatasetError(f"{_shown(where)} is {row!r:.80}, expected [path, label >= 0, class name]")


def safe_path(path: str, *, where: Place) -> str:
    """The path of an image as a file lists it, in its plain POSIX form.

    Raises:
        DatasetError: the path is absolute, leaves the folder, or has backslashes or zero bytes; the
            message says `where` it stands.
    """
    # Most paths need no second look; taking each apart would be half the time of opening.
    if _PLAIN_PATH.fullmatch(path):
        return path
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
        raise DatasetError(
            f"{_shown(where)} has the path {path!r:.80}; expected one that is relative, "
            "with forward slashes, and stays in the folder"
        )
    return str(pure)


def _shown(where: Place) -> str:
    path, split, number = where
    return f"{path}: {split}[{number}]"


def _check_unique_paths(rows: tuple[PublishedRow, ...], *, path: Path) -> None:
    seen: dict[str, Split] = {}
    for row in rows:
        if row.path in seen:
            raise DatasetError(
                f"{path} lists {row.path!r} twice, in {seen[row.path]} and in {row.split}; "
                "every image belongs to one split"
            )
        seen[row.path] = row.split


def _check_labels(rows: tuple[PublishedRow, ...], *, path: Path) -> None:
    names: dict[int, str] = {}
    for row in rows:
        if names.setdefault(row.label, row.class_name) != row.class_name:
            raise DatasetError(
                f"{path} calls label {row.label} both {names[row.label]!r} and {row.class_name!r} "
                f"(at {row.path!r}); a label has one class name"
            )
