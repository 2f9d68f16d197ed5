"""The file formats, detected by content or suffix, and the reader and writer of each."""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from feature_cache.errors import InvalidInputError
from feature_cache.exchange.clip_retrieval import read_clip_retrieval, write_clip_retrieval
from feature_cache.exchange.conversions import Names
from feature_cache.exchange.errors import InvalidImportError, check_file, errors_about
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
_TORCH_OF_BEFORE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of what `torch.save` wrote before version 1.6: its magic number, pickled."""
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_CONVERSION = """\
import numpy, torch
{a}, {b} = (torch.load(name, "cpu", weights_only=True).numpy() for name in ({of_a!r}, {of_b!r}))
numpy.savez({to!r}, features={features}, labels={labels})"""


def detect_format(path: Path) -> Format:
    """Detect the format of a file or folder by its first bytes, whatever its name.

    Raises:
        InvalidImportError: it is missing, pickled, or of no format that can be read. For a cache of
            Tip-Adapter the message has the three lines of Python that convert it.
    """
    if path.is_dir():
        return "clip-retrieval"
    check_file(path)
    with path.open("rb") as file:
        head = file.read(len(_TORCH_OF_BEFORE))
    if head == _TORCH_OF_BEFORE or (head.startswith(b"PK") and _is_torch_archive(path)):
        raise InvalidImportError(path, _how_to_convert(path))
    if head.startswith(b"PK"):
        return "npz"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head[8:9] == b"{":
        return "safetensors"
    if _PICKLE.match(head):
        raise InvalidImportError(
            path,
            "pickled files are never read, since they can run any program: save the arrays with "
            "numpy.savez where it was made",
        )
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
        InvalidInputError: another suffix.
    """
    form = _SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise InvalidInputError(
            f"{path} has the suffix {path.suffix!r}, expected .safetensors, .npz, .npy, or none "
            "for clip-retrieval's folder: rename it, or say the format"
        )
    return form


def _is_torch_archive(path: Path) -> bool:
    """Whether a zip file is one of `torch.save`, which has a pickle in it and no array."""
    with errors_about(path), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return any(name.endswith("/data.pkl") for name in names) and not any(
        name.endswith(".npy") for name in names
    )


def _how_to_convert(path: Path) -> str:
    """The reason to refuse a file of torch, and the lines that convert the files of Tip-Adapter.

    Its `keys` are features in columns, its `values` one-hot rows; `test_f` and `test_l` are features
    and labels (`build_cache_model` and `pre_load_features` of github.com/gaopengcuhk/Tip-Adapter).
    """
    one_split = re.fullmatch(r"(.+)_[fl]", path.stem)
    if one_split:
        a, b, features, labels = "features", "labels", "features", "labels"
        of_a, of_b = (f"{one_split[1]}_{letter}" for letter in "fl")
    else:
        a, b, features, labels = "keys", "values", "keys.T", "values.argmax(1)"
        stem = path.stem if re.search("keys|values", path.stem) else "keys_16shots"
        of_a, of_b = stem.replace("values", "keys"), stem.replace("keys", "values")
    lines = _CONVERSION.format(
        a=a,
        b=b,
        of_a=str(path.with_name(of_a + path.suffix)),
        of_b=str(path.with_name(of_b + path.suffix)),
        features=features,
        labels=labels,
        to=str(path.with_suffix(".npz")),
    )
    return (
        "it is a file of torch.save, and pickled files are never read. If Tip-Adapter made it, "
        f"these lines of Python convert it; import {path.with_suffix('.npz').name} then, with "
        f"--class-names FILE:\n{lines}"
    )


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
        InvalidInputError: the path exists.
        OSError: the disk is full or fails; nothing is left behind.
    """
    if form == "safetensors":
        return write_safetensors(path, features, overwrite=overwrite)
    if form == "npz":
        return write_npz(path, features, overwrite=overwrite)
    if form == "npy":
        return write_npy(path, features, overwrite=overwrite)
    return write_clip_retrieval(path, features, keep_precision=keep_precision, overwrite=overwrite)
