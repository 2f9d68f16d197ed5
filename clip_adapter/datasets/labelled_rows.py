"""From rows of path, label, split and group to a dataset: of tables, and of what containers say."""

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from clip_adapter.datasets.class_names import name_classes, plain_name
from clip_adapter.datasets.dataset_file import DatasetFile, read_class_names
from clip_adapter.datasets.folder_walk import compile_pattern
from clip_adapter.datasets.imagefolder import TEMPLATES
from clip_adapter.datasets.sources import (
    ExcludedFile,
    FolderOptions,
    ImageSource,
    LabelledFile,
    slug_of,
)
from clip_adapter.datasets.splits import SPLIT_NAMES, Split
from clip_adapter.errors import DatasetError, nearest
from clip_adapter.images import ImageFolder

MAX_ROWS: Final = 10_000_000
MAX_CELL: Final = 4096
"""Largest number of characters of a path, label, split or group."""
_ALSO_CALLED: Final[Mapping[str, tuple[str, ...]]] = {
    "path": (
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
    ),
    "label": ("class", "class_name", "category", "target", "labels", "species", "y"),
    "split": ("set", "subset", "fold", "partition"),
    "group": ("patient", "patient_id", "scene", "site", "subject"),
}
_SHOWN = 5


class LabelledRow(NamedTuple):
    """What is said of one image.

    Attributes:
        path: path of the image as `LabelledFile` has it; empty if there is none.
        label: class of the image; None if it has no label.
        split: name of its split; None if it has none.
        group: its group; None if it has none.
    """

    path: str
    label: str | None
    split: str | None = None
    group: str | None = None


@dataclass
class RowReading:
    """What the rows of a dataset become, one after the other.

    Attributes:
        what: name of the table or container in messages.
        options: what the user says about the dataset.
        kept: the rows that are used, by path.
        excluded: what is left out, and why.
    """

    what: str
    options: FolderOptions
    kept: dict[str, LabelledRow] = field(default_factory=dict)
    excluded: list[ExcludedFile] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._patterns = {each: compile_pattern(each) for each in self.options.ignore}
        self._unmatched = dict.fromkeys(self._patterns)
        self._same: dict[str, str] = {}  # one text for each label, split and group
        self._two_labels: set[str] = set()
        self._n_rows, self._n_again = 0, 0

    def is_ignored(self, path: str) -> bool:
        """Whether the user leaves out a path."""
        composed = unicodedata.normalize("NFC", path) if self._patterns else path
        found = [each for each, pattern in self._patterns.items() if pattern.fullmatch(composed)]
        for each in found:
            self._unmatched.pop(each, None)
        return bool(found)

    def exclude(self, path: str, reason: str) -> None:
        """Leave out an image or another file; a name that cannot be printed is written with escapes."""
        shown = path if len(path) <= MAX_CELL else f"{path[:200]}..."
        self.excluded.append(
            ExcludedFile(shown.encode("utf-8", "backslashreplace").decode("utf-8"), reason)
        )

    def add(self, row: LabelledRow) -> None:
        """Take a row, or leave it out.

        Raises:
            DatasetError: there are too many rows, a split has another name, or two rows contradict each
                other about the split or group of an image.
        """
        self._n_rows += 1
        if self._n_rows > MAX_ROWS:
            raise DatasetError(
                f"{self.what} has more than {MAX_ROWS:,} rows; divide it into several datasets"
            )
        reason = self._reason(row)
        if reason:
            self.exclude(row.path or f"row {self._n_rows:,}", reason)
            return
        label, group = (self._once(each) for each in (row.label, row.group))
        row = LabelledRow(row.path, label, self._split(row), group)
        if row.path in self._two_labels:
            return
        before = self.kept.setdefault(row.path, row)
        if before is row:
            return
        if before.label != row.label:
            del self.kept[row.path]
            self._two_labels.add(row.path)
            self.exclude(row.path, "two labels")
        elif before != row:
            raise DatasetError(
                f"{self.what} names {row.path!r:.200} twice, with split and group {before[2:]} and "
                f"{row[2:]}; an image has one of each"
            )
        else:
            self._n_again += 1

    def _reason(self, row: LabelledRow) -> str:
        """Why a row is left out; empty if it is not."""
        if not row.path:
            return "no path"
        if any(each is not None and len(each) > MAX_CELL for each in row):
            return f"a cell of more than {MAX_CELL:,} characters"
        if not all(each is None or _is_unicode(each) for each in row[1:]):
            return "a label, split or group that is not valid Unicode"
        if self.is_ignored(row.path):
            return "ignored"
        return "" if row.label else "no label"

    def _once(self, text: str | None) -> str | None:
        return None if not text else self._same.setdefault(text, text)

    def _split(self, row: LabelledRow) -> Split | None:
        if not row.split:
            return None
        split = SPLIT_NAMES.get(row.split.lower())
        if split is None:
            close = nearest(row.split, SPLIT_NAMES)
            advice = f"did you mean {close[0]!r}?" if close else "expected train, val or test"
            raise DatasetError(
                f"{self.what} has the split {row.split!r:.100} (of {row.path!r:.200}): {advice}"
            )
        return split

    def notes(self) -> list[str]:
        """Sentences about what was left out."""
        found = [f"--ignore {each!r} matches nothing in {self.what}" for each in self._unmatched]
        if self._n_again:
            found.append(
                f"{self._n_again:,} rows of {self.what} name an image again and count once"
            )
        return found


def source_of_rows(
    reading: RowReading,
    *,
    name: str,
    folder: ImageFolder,
    order: Sequence[str] = (),
    notes: Iterable[str] = (),
) -> ImageSource:
    """The dataset that rows describe, with the template "a photo of a {}.".

    Classes are in the order of `order`, else of their labels, whole numbers as numbers. `class_names` of
    the options names them, else the rules of `clip_adapter.datasets.class_names`. Without a labelled test
    image the split of the images of train is decided when they are indexed, as for a folder.

    Args:
        reading: the rows.
        name: name of the dataset unless the options have one.
        folder: place that all paths are relative to.
        order: labels in the order of their classes; further ones follow.
        notes: sentences about what was read.

    Raises:
        DatasetError: there are fewer than two classes, none to train on, a class name cannot be prompted,
            or the name is no slug.
    """
    what, options, rows = reading.what, reading.options, reading.kept.values()
    labels = _ordered({str(row.label) for row in rows}, order)
    if len(labels) < 2:
        raise DatasetError(_too_few(reading, labels))
    named = _named(labels, options)
    class_names = name_classes(labels, given=named.class_names)
    splits = {row.split for row in rows}
    said = [*notes, *reading.notes(), *named.notes, *_naming_notes(labels, class_names, named)]
    if "train" not in splits and None not in splits:
        raise DatasetError(
            f"{what} has images of {' and '.join(sorted(map(str, splits)))} and none of train to train on; "
            "give images the split train, or none a split"
        )
    divide = "test" not in splits and "train" in splits
    if divide:
        parts = "train and test" if "val" in splits else "train, val and test"
        said.append(f"{what} has no labelled test images: those of train are divided into {parts}")
    number = {label: position for position, label in enumerate(labels)}
    files = tuple(
        LabelledFile(
            row.path,
            number[str(row.label)],
            None if divide and row.split == "train" else _as_split(row.split),
            row.group,
        )
        for row in rows
    )
    return ImageSource(
        name=options.name or _slug(name, what),
        folder=folder,
        class_names=class_names,
        templates=TEMPLATES,
        files=files,
        excluded=tuple(reading.excluded),
        notes=tuple(said),
        read=options.read,
        class_prompts=tuple(named.prompts.get(each, ()) for each in labels)
        if named.prompts
        else (),
    )


def choose_columns(
    found: Sequence[str],
    options: FolderOptions,
    *,
    what: str,
    required: Sequence[str],
    optional: Sequence[str] = (),
) -> dict[str, str]:
    """The dataset's column for each of ours; an optional one that is not there has none.

    Args:
        found: names of the columns that there are.
        options: may name columns.
        what: name of the table in messages.
        required: our columns that must be there.
        optional: our columns that may be there.

    Raises:
        DatasetError: a column that is required or named is missing, or occurs twice.
    """
    asked = dict(options.columns)
    chosen = {}
    for ours in (*required, *optional):
        theirs = asked.get(ours, ours)
        if found.count(theirs) == 1:
            chosen[ours] = theirs
        elif theirs in found:
            raise DatasetError(f"{what} has the column {theirs!r} twice; rename one of them")
        elif ours in required or ours in asked:
            raise DatasetError(_no_column(ours, theirs, found, what=what))
    return chosen


def as_text(value: Any, *, what: str) -> str | None:
    """A cell as text without outer spaces; None if it is empty.

    Raises:
        DatasetError: the cell is a list, a mapping or a fraction.
    """
    if value is None or (isinstance(value, float) and value != value):  # noqa: PLR0124  # NaN
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str | int):
        return str(value).strip() or None
    raise DatasetError(
        f"{what} has the value {value!r:.80}; expected text or a whole number for each image"
    )


def split_named_in(path: str) -> str | None:
    """The name of a split among the words of a file's name, else of its folders; None if there is none.

    >>> split_named_in("data/train-00000-of-00002.parquet"), split_named_in("val/0.tar")
    ('train', 'val')
    """
    for part in reversed(path.split("/")):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in SPLIT_NAMES:
                return word
    return None


def _is_unicode(text: str) -> bool:
    """Whether a text can be stored, which half of a surrogate pair, as JSON may have it, cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _as_split(text: str | None) -> Split | None:
    return SPLIT_NAMES[text] if text else None


def _ordered(labels: set[str], order: Sequence[str]) -> list[str]:
    known = [each for each in order if each in labels]
    rest = labels - set(known)
    are_numbers = all(re.fullmatch(r"\d{1,18}", each) for each in rest)
    return known + sorted(rest, key=lambda each: (int(each) if are_numbers else 0, each))


def _named(labels: Sequence[str], options: FolderOptions) -> DatasetFile:
    if options.class_names is None:
        return DatasetFile()
    return read_class_names(options.class_names, labels)


def _naming_notes(
    labels: Sequence[str], class_names: Sequence[str], named: DatasetFile
) -> list[str]:
    by_rule = [
        (label, name)
        for label, name in zip(labels, class_names, strict=True)
        if label not in named.class_names
    ]
    if by_rule and all(label.isdecimal() for label, _ in by_rule):
        shown = ", ".join(repr(name) for _, name in by_rule[:3])
        return [
            f"the labels are numbers, and classes are called {shown}; name them: --class-names FILE"
        ]
    changed = [f"{label} is {name!r}" for label, name in by_rule if name != plain_name(label)]
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    said = f"class names from labels: {', '.join(changed[:_SHOWN])}{more}"
    return [f"{said}; --class-names FILE names them otherwise"] if changed else []


def _slug(name: str, what: str) -> str:
    slug = slug_of(name)
    if not slug or (slug.replace("-", "").isdecimal() and not name.isascii()):
        raise DatasetError(
            f"{what} has no letters a-z in its name to name a dataset by: give the dataset a name with "
            "--name"
        )
    return slug


def _too_few(reading: RowReading, labels: Sequence[str]) -> str:
    reasons: dict[str, int] = {}
    for each in reading.excluded:
        reasons[each.reason] = reasons.get(each.reason, 0) + 1
    unused = f"; not used: {', '.join(f'{n:,} {reason}' for reason, n in reasons.items())}"
    found = f"the one class {labels[0]!r:.100}" if labels else "no labelled image"
    return f"{reading.what} has {found}; classifying takes two classes{unused if reasons else ''}"


def _no_column(ours: str, theirs: str, found: Sequence[str], *, what: str) -> str:
    close = nearest(theirs, found) or [
        each for each in found if each.lower() in _ALSO_CALLED.get(ours, ())
    ]
    listed = ", ".join(map(repr, found[:12])) + (", ..." if len(found) > 12 else "")
    hint = f"did you mean {close[0]!r:.100}? " if close else ""
    name = close[0] if close else "NAME"
    if ours == "path":
        hint = f"a Parquet file with the images inside is hf:./FOLDER; {hint}"
    return (
        f"{what} has no column {theirs!r:.100} for the {ours} of each image, it has {listed:.600}: {hint}name "
        f"it with --columns {ours}={name:.100}"
    )


def absolute_below(path: str, folder: str) -> str:
    """An absolute path below a folder as one relative to it; any other path unchanged."""
    root = os.path.abspath(folder).rstrip("/") + "/"  # noqa: PTH100  # keeps links
    is_below = path.startswith(root) and ".." not in path.split("/")
    return path[len(root) :].lstrip("/") if is_below else path
