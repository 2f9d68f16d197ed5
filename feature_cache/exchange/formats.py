"""The file formats, detected by content or suffix, and the reader and writer of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from feature_cache.exchange.clip_retrieval import read_clip_retrieval, write_clip_retrieval
from feature_cache.exchange.conversions import Names
from feature_cache.exchange.errors import ExportError, InvalidImportError, check_file
from feature_cache.exchange.labelled_features import LabelledFeatures
from feature_cache.exchange.npy import read_npy, write_npy
from feature_cache.exchange.npz import read_npz, write_npz
from feature_cache.exchange.safetensors_file import read_safetensors, write_safetensors

Format = Literal["npz", "npy", "clip-retrieval", "safetensors"]

_READERS: dict[Format, Any] = {
    "npz": read_npz,
    "npy": read_npy,
    "clip-retrieval": read_clip_retrieval,
    "safetensors": read_safetensors,
}
_OPTIONS: dict[Format, set[str]] = {
    "npz": {"names", "class_names"},
    "npy": {"labels", "class_names"},
    "clip-retrieval": {"names", "class_names", "class_from_folder", "text_by_class"},
    "safetensors": set(),
}
_SUFFIXES: dict[str, Format] = {
    ".npz": "npz",
    ".npy": "npy",
    ".safetensors": "safetensors",
    "": "clip-retrieval",
}


def detect_format(path: Path) -> Format:
    """Detect the format of a file or folder by its first bytes, whatever its name.

    Raises:
        InvalidImportError: it is missing, or of no format that can be read.
    """
    if path.is_dir():
        return "clip-retrieval"
    check_file(path)
    with path.open("rb") as file:
        head = file.read(9)
    if head.startswith(b"PK"):
        return "npz"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head[8:] == b"{":
        return "safetensors"
    raise InvalidImportError(
        path,
        "it is neither .npz nor .npy nor safetensors, by its first bytes: save the arrays as .npz "
        "(numpy.savez); pickled files are never read",
    )


def read_features(
    path: Path,
    *,
    names: Names | None = None,
    labels: Path | None = None,
    class_names: Sequence[str] | None = None,
    class_from_folder: bool = False,
    text_by_class: bool = False,
) -> LabelledFeatures:
    """Read labelled features in the format that is detected.

    Args:
        path: the file or folder.
        names: names of the arrays of a `.npz` or of the columns of clip-retrieval's metadata, by
            the roles of `ARRAY_NAMES` and `COLUMN_NAMES`; None leaves one unread.
        labels: file of the labels of a `.npy`.
        class_names: names in the order of the labels; of any format but safetensors.
        class_from_folder: option of `read_clip_retrieval`.
        text_by_class: option of `read_clip_retrieval`.

    Raises:
        InvalidImportError: an option is not one of the format; the file is damaged, pickled or
            too large, or does not contain labelled features.
    """
    detected = detect_format(path)
    options = {
        "names": names,
        "labels": labels,
        "class_names": class_names,
        "class_from_folder": class_from_folder,
        "text_by_class": text_by_class,
    }
    given = {name: value for name, value in options.items() if value}
    unused = sorted(set(given) - _OPTIONS[detected])
    if unused:
        raise InvalidImportError(
            path,
            f"it is {detected}, of which {unused[0].replace('_', ' ')} cannot be chosen: leave it "
            "out",
        )
    found: LabelledFeatures = _READERS[detected](path, **given)
    return found


def format_for(path: Path) -> Format:
    """The format to write to a path: that of its suffix, clip-retrieval's folder without one.

    Raises:
        ExportError: another suffix.
    """
    form = _SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise ExportError(
            f"{path} has the suffix {path.suffix!r}, expected .safetensors, .npz, .npy, or none "
            "for clip-retrieval's folder: rename it, or say the format"
        )
    return form


def write_features(
    path: Path,
    features: LabelledFeatures,
    *,
    form: Format,
    keep_precision: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write labelled features, completely or not at all, and return the path.

    Args:
        path: the file, or clip-retrieval's folder.
        features: what to write, as far as the format has room for it.
        form: the format.
        keep_precision: keep every bit in clip-retrieval's folder; the other formats always do.
        overwrite: whether an existing file or folder may be replaced.

    Raises:
        ExportError: the path exists.
        OSError: the disk is full or fails; nothing is left behind.
    """
    if form == "safetensors":
        return write_safetensors(path, features, overwrite=overwrite)
    if form == "npz":
        return write_npz(path, features, overwrite=overwrite)
    if form == "npy":
        return write_npy(path, features, overwrite=overwrite)
    return write_clip_retrieval(path, features, keep_precision=keep_precision, overwrite=overwrite)
