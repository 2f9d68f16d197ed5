"""Which format a file from elsewhere has, told by its first bytes, and the reader that fits."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from feature_cache.exchange.clip_retrieval import (
    MetadataColumns,
    ReadingRules,
    read_clip_retrieval,
)
from feature_cache.exchange.errors import ForeignFileError
from feature_cache.exchange.npy import read_npy
from feature_cache.exchange.npz import ArrayNames, read_npz
from feature_cache.exchange.safetensors_file import FeatureFile, read_safetensors

Format = Literal["npz", "npy", "clip-retrieval", "safetensors"]

_CHOICES: Mapping[Format, set[str]] = {
    "npz": {"names", "class_names"},
    "npy": {"labels", "class_names"},
    "clip-retrieval": {"names", "class_names", "class_from_folder", "text_by_class"},
    "safetensors": set(),
}


@dataclass(frozen=True, kw_only=True)
class ReadingChoices:
    """What the reader of one format or another may be told; None, False and empty say nothing.

    Attributes:
        names: What its arrays or columns are called, by role (as `ArrayNames` and
            `MetadataColumns` list them); None leaves one unread.
        labels: The file of the labels.
        class_names: In the order of the labels.
        class_from_folder: As in `ReadingRules`.
        text_by_class: As in `ReadingRules`.
    """

    names: Mapping[str, str | None] = field(default_factory=dict)
    labels: Path | None = None
    class_names: tuple[str, ...] | None = None
    class_from_folder: bool = False
    text_by_class: bool = False


def format_of(path: Path) -> Format:
    """The format of a file or folder; its name does not count.

    Raises:
        ForeignFileError: It is not there, or of no format that is read.
    """
    if path.is_dir():
        return "clip-retrieval"
    if not path.is_file():
        raise ForeignFileError(path, "it is not there, or no regular file: check the path")
    with path.open("rb") as file:
        head = file.read(9)
    if head.startswith(b"PK"):
        return "npz"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head[8:] == b"{":
        return "safetensors"
    raise ForeignFileError(
        path,
        "it is neither .npz nor .npy nor safetensors, by its first bytes: save the arrays as .npz "
        "(numpy.savez); pickled files are never read",
    )


def read_features(path: Path, choices: ReadingChoices = ReadingChoices()) -> FeatureFile:
    """Read labelled features from whatever format they are in.

    Raises:
        ForeignFileError: As the readers of the formats; or a choice the format does not have.
    """
    form = format_of(path)
    idle = sorted(
        name for name, value in vars(choices).items() if value and name not in _CHOICES[form]
    )
    if idle:
        raise ForeignFileError(
            path,
            f"it is {form}, of which {idle[0].replace('_', ' ')} cannot be chosen: leave it out",
        )
    if form == "safetensors":
        return read_safetensors(path)
    if form == "npy":
        foreign = read_npy(path, labels=choices.labels, class_names=choices.class_names)
    elif form == "npz":
        names = _renamed(path, ArrayNames(), choices.names)
        foreign = read_npz(path, names=names, class_names=choices.class_names)
    else:
        rules = ReadingRules(
            columns=_renamed(path, MetadataColumns(), choices.names),
            class_from_folder=choices.class_from_folder,
            text_by_class=choices.text_by_class,
        )
        foreign = read_clip_retrieval(path, rules=rules, class_names=choices.class_names)
    return FeatureFile(foreign)


def _renamed(path: Path, usual: Any, names: Mapping[str, str | None]) -> Any:
    strangers = sorted(set(names) - set(vars(usual)))
    if strangers:
        roles = ", ".join(vars(usual))
        raise ForeignFileError(path, f"there is no {strangers[0]!r:.80} to name, only {roles}")
    needed = sorted(role for role, name in names.items() if not name and role in _NEEDED)
    if needed:
        raise ForeignFileError(path, f"{needed[0]} cannot be left unread: name it")
    return replace(usual, **names)


_NEEDED = {"features", "labels"}
