"""What a file says about a folder of images: `--class-names FILE`, and `dataset.yaml` in the folder.

A YAML file maps each class folder to its name, or to `{name: ..., prompts: [...]}`. A CSV file has the
columns folder, name and any number of prompts, with or without a header. Any other file has a line a
class: folder, tab or comma, name, and after a tab perhaps prompts; or names alone, in the order of
the sorted class folders. `dataset.yaml` has the keys of `KEYS`, all optional.

Files are data: YAML is read as text, lists and mappings only, and nothing is executed.
"""

import csv
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any, Final
from unicodedata import normalize

from clip_adapter.datasets.sources import FolderOptions, check_name, check_templates
from clip_adapter.errors import DatasetError, UnreadableImageError, nearest
from clip_adapter.images import FolderReader

NAME_IN_FOLDER: Final = "dataset.yaml"
KEYS: Final = ("class_names", "templates", "name", "licence", "citation")
MAX_BYTES: Final = 2**20

_Row = tuple[str, str, tuple[str, ...]]  # folder, name, prompts


@dataclass(frozen=True, kw_only=True)
class DatasetFile:
    """What files say about a folder of images.

    Attributes:
        class_names: names of classes by their folders.
        prompts: prompts in place of the templates, by class folder.
        templates: prompts with one `{}` for the class name.
        name: name of the dataset.
        licence: licence of the images.
        citation: what to cite for the images.
        notes: sentences about what was read.
    """

    class_names: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    templates: tuple[str, ...] = ()
    name: str | None = None
    licence: str | None = None
    citation: str | None = None
    notes: tuple[str, ...] = ()


def read_dataset_files(
    folder: Path, class_folders: Sequence[str], options: FolderOptions
) -> DatasetFile:
    """What `dataset.yaml` in `folder` says; `options.class_names` comes before its class names.

    Args:
        folder: folder of the images.
        class_folders: names of its class folders, sorted.
        options: names the other file and says how files may be read.

    Raises:
        DatasetError: a file is missing, too large, not UTF-8, malformed or contradicts itself, or
            names a class folder that is not there.
    """
    found = _read_dataset_yaml(folder, class_folders, options)
    if options.class_names is None:
        return found
    given = read_class_names(options.class_names, class_folders)
    return replace(
        found,
        class_names=given.class_names,
        prompts=given.prompts,
        notes=(*found.notes, *given.notes),
    )


def read_class_names(file: Path, class_folders: Sequence[str]) -> DatasetFile:
    """The names and prompts of classes in the file of `--class-names`.

    Args:
        file: file with the names.
        class_folders: names of the class folders, or labels, in the order of the classes.

    Raises:
        DatasetError: the file is missing, too large, not UTF-8, malformed or contradicts itself, or
            names a class that is not there.
    """
    rows, notes = _read_rows(file, class_folders)
    return DatasetFile(
        class_names={folder: name for folder, name, _ in rows if name},
        prompts={folder: prompts for folder, _, prompts in rows if prompts},
        notes=(*notes, *_missing(str(file), rows, class_folders)),
    )


def _read_dataset_yaml(
    folder: Path, class_folders: Sequence[str], options: FolderOptions
) -> DatasetFile:
    if not os.path.lexists(folder / NAME_IN_FOLDER):
        return DatasetFile()
    source = str(folder / NAME_IN_FOLDER)
    try:
        # Like an image: it may be a link, and no link may leave the folder.
        with FolderReader(folder, options.read) as reader:
            data = reader.read(NAME_IN_FOLDER)
    except UnreadableImageError as error:
        raise DatasetError(f"{source} cannot be read: {error.reason}") from error
    found = parse_yaml(decode_text(data, source), source)
    check_keys(found, KEYS, source=source)
    raw = found.get("class_names") or {}
    rows = _resolve(_rows_of_mapping(raw, source=f"class_names of {source}"), class_folders, source)
    templates = texts_of(found.get("templates") or [], what=f"templates of {source}")
    check_templates(templates)
    texts = {key: text_of(found.get(key, ""), what=f"{key} of {source}") for key in KEYS[2:]}
    if texts["name"]:
        check_name(texts["name"], what=f"name of {source}")
    return DatasetFile(
        class_names={folder: name for folder, name, _ in rows if name},
        prompts={folder: prompts for folder, _, prompts in rows if prompts},
        templates=templates,
        notes=(_summary(rows, templates, texts), *_missing(source, rows, class_folders)),
        **{key: text or None for key, text in texts.items()},
    )


def _summary(rows: Sequence[_Row], templates: Sequence[str], texts: Mapping[str, str]) -> str:
    parts = [
        f"{len(rows)} classes" if rows else "",
        f"{len(templates)} templates" if templates else "",
        *(f"{key} {text}" for key, text in texts.items() if text),
    ]
    return f"{NAME_IN_FOLDER} says: {', '.join(filter(None, parts)) or 'nothing'}"


def _missing(source: str, rows: Sequence[_Row], class_folders: Sequence[str]) -> tuple[str, ...]:
    named = {folder for folder, name, _ in rows if name}
    left = [folder for folder in class_folders if folder not in named]
    if not left or not named:
        return ()
    shown = f"{left[0]!r} and {len(left) - 1} more are" if len(left) > 1 else f"{left[0]!r} is"
    count = f"{len(named)} of {len(class_folders)} class folders"
    return (f"{source} names {count}; {shown} named after the folder",)


def _read_rows(file: Path, class_folders: Sequence[str]) -> tuple[list[_Row], tuple[str, ...]]:
    source, suffix = str(file), file.suffix.lower()
    text = decode_text(_read_bytes(file), source)
    if suffix in {".yaml", ".yml"}:
        rows = _rows_of_mapping(parse_yaml(text, source), source=source)
    elif suffix == ".csv":
        rows = _rows_of_csv(text, class_folders, source)
    else:
        rows = _rows_of_lines(text, source)
        if rows and not any(folder for folder, _, _ in rows):
            return _in_order(rows, class_folders, source)
    if not rows:
        raise DatasetError(f"{source} names no class; expected a class folder and a name a line")
    return _resolve(rows, class_folders, source), ()


def _in_order(
    rows: Sequence[_Row], class_folders: Sequence[str], source: str
) -> tuple[list[_Row], tuple[str, ...]]:
    if len(rows) != len(class_folders):
        raise DatasetError(
            f"{source} has {len(rows)} names without folders for {len(class_folders)} class folders; "
            "expected one a folder, or lines of folder, tab, name"
        )
    pairs = zip(class_folders, rows, strict=True)
    named = [(folder, name, prompts) for folder, (_, name, prompts) in pairs]
    first, last = (f"{folder!r} is {name!r}" for folder, name, _ in (named[0], named[-1]))
    note = f"{source} names the sorted class folders in order: {first}, {last}"
    return _resolve(named, class_folders, source), (note,)


def _rows_of_mapping(found: Any, *, source: str) -> list[_Row]:
    if not isinstance(found, Mapping):
        raise DatasetError(
            f"{source} is {_kind(found)}; expected a mapping of class folders to names"
        )
    rows = []
    for folder, value in found.items():
        entry = value if isinstance(value, Mapping) else {"name": value}
        what = f"{folder!r} in {source}"
        check_keys(entry, ("name", "prompts"), source=what)
        name = text_of(entry.get("name", ""), what=what)
        rows.append((folder, name, texts_of(entry.get("prompts") or [], what=f"prompts of {what}")))
    return rows


def _rows_of_csv(text: str, class_folders: Sequence[str], source: str) -> list[_Row]:
    try:
        read = [row for row in csv.reader(StringIO(text, newline=""), strict=True) if any(row)]
    except csv.Error as error:
        raise DatasetError(f"{source} is no CSV file: {error}") from error
    begin = [cell.strip().lower() for cell in read[0][:2]] if read else []
    if begin == ["folder", "name"] and "folder" not in class_folders:
        read = read[1:]
    return [_row_of(row) for row in read]


def _rows_of_lines(text: str, source: str) -> list[_Row]:
    lines = [line for line in StringIO(text) if line.strip()]
    cells = [line.split("\t") if "\t" in line else line.split(",", 1) for line in lines]
    lone = [line for line, row in zip(lines, cells, strict=True) if len(row) == 1]
    if lone and len(lone) == len(lines):
        return [("", line.strip(), ()) for line in lines]
    if lone:
        raise DatasetError(
            f"{source} has the line {lone[0]!r} without a folder beside lines with one; expected "
            "folder, tab or comma, name in every line, or names alone in every line"
        )
    return [_row_of(row) for row in cells]


def _row_of(cells: Sequence[str]) -> _Row:
    folder, name, *prompts = [cell.strip() for cell in (*cells, "")]
    return folder, name, tuple(filter(None, prompts))


def _resolve(rows: Iterable[_Row], class_folders: Sequence[str], source: str) -> list[_Row]:
    """The rows with their folders as they are called on the disk, checked."""
    folder_of = {normalize("NFC", folder): folder for folder in class_folders}
    resolved: dict[str, _Row] = {}
    names: dict[str, str] = {}
    for found, name, prompts in rows:
        folder = folder_of.get(normalize("NFC", found.rstrip("/")))
        if folder is None:
            raise DatasetError(_unknown_folder(found, class_folders, source))
        if folder in resolved:
            raise DatasetError(f"{source} names the class folder {folder!r} twice; name it once")
        if not name and not prompts:
            raise DatasetError(f"{source} says nothing of the class folder {folder!r}; name it")
        if name in names:
            raise DatasetError(
                f"{source} calls the class folders {names[name]!r} and {folder!r} both {name!r}; "
                "give each a name of its own"
            )
        if name:
            _check_printable(name, what=f"the name of {folder!r} in {source}")
            names[name] = folder
        _check_prompts(prompts, what=f"{folder!r} in {source}")
        resolved[folder] = (folder, name, prompts)
    return list(resolved.values())


def _unknown_folder(found: str, class_folders: Sequence[str], source: str) -> str:
    close = nearest(found, class_folders)
    advice = (
        f"did you mean {' or '.join(map(repr, close))}?" if close else "take it out of the file"
    )
    return (
        f"{source} names the class folder {found!r}, which is not among the {len(class_folders)} "
        f"there are: {advice}"
    )


def _check_prompts(prompts: Sequence[str], *, what: str) -> None:
    for prompt in prompts:
        _check_printable(prompt, what=f"a prompt of {what}")
        if not prompt.strip() or prompt.count("{}") > 1:
            raise DatasetError(
                f"{what} has the prompt {prompt!r}; expected text, with {{}} once or not at all for "
                "the class name"
            )
    if len(set(prompts)) < len(prompts):
        raise DatasetError(f"{what} has one prompt twice; name it once")


def _check_printable(text: str, *, what: str) -> None:
    if not text.isprintable():
        raise DatasetError(
            f"{what} is {text!r}, with control characters; expected one line of text"
        )


def check_keys(found: Any, known: Sequence[str], *, source: str) -> None:
    """Raise unless `found` is a mapping whose keys are all known.

    Raises:
        DatasetError: it is not; the message suggests the nearest key.
    """
    if not isinstance(found, Mapping):
        raise DatasetError(f"{source} is {_kind(found)}; expected a mapping of {', '.join(known)}")
    for key in found:
        if key not in known:
            close = nearest(key, known)
            advice = f"did you mean {close[0]!r}?" if close else f"expected {', '.join(known)}"
            raise DatasetError(f"{source} has the unknown key {key!r}: {advice}")


def texts_of(found: Any, *, what: str) -> tuple[str, ...]:
    """A text or a list of texts of a YAML file as a tuple.

    Raises:
        DatasetError: it is something else; the message begins with `what`.
    """
    values = [found] if isinstance(found, str) else found
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise DatasetError(f"{what}: found {_kind(found)}, expected a list of texts")
    return tuple(values)


def text_of(found: Any, *, what: str) -> str:
    """A text of a YAML file on one line.

    Raises:
        DatasetError: it is no text or has control characters; the message begins with `what`.
    """
    if not isinstance(found, str):
        raise DatasetError(f"{what} is {_kind(found)}, expected a text")
    text = " ".join(found.split())  # of one line, as YAML's own folded texts
    _check_printable(text, what=what)
    return text


def _kind(value: Any) -> str:
    # A value itself may be endless: YAML can refer to one list from many places.
    return {"dict": "a mapping", "list": "a list", "str": "a text"}.get(
        type(value).__name__, "empty"
    )


def _read_bytes(file: Path) -> bytes:
    if not file.is_file():
        found = "is not a regular file" if file.exists() else "does not exist"
        raise DatasetError(f"the file of class names {file} {found}")
    with file.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def decode_text(data: bytes, source: str, *, limit: int = MAX_BYTES) -> str:
    """The text of a file of at most `limit` bytes in UTF-8.

    Raises:
        DatasetError: it is larger, or not UTF-8; the message names `source`.
    """
    if len(data) > limit:
        raise DatasetError(f"{source} is larger than {limit:,} bytes, the limit of such a file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{source} is not UTF-8 at byte {error.start}; save it in that encoding"
        ) from None


def parse_yaml(text: str, source: str) -> Any:
    """The mappings, lists and texts of a YAML document; no number, date or object is made.

    So a folder `001` or `no` keeps its name.

    Raises:
        DatasetError: the text is no YAML, or has a key twice; the message names `source`.
    """
    import yaml  # type: ignore[import-untyped]  # noqa: PLC0415  # has no types, takes time

    class Loader(yaml.BaseLoader):  # type: ignore[misc]  # as above
        def construct_mapping(self, node: Any, *, deep: bool = False) -> Any:
            keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            if keys and (most := keys.most_common(1)[0])[1] > 1:
                raise yaml.YAMLError(f"the key {most[0]!r} occurs twice")  # the last would count
            return super().construct_mapping(node, deep=deep)

    loader = None
    try:
        loader = Loader(text)  # which looks for characters that YAML does not allow
        found = loader.get_single_data()
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        said = " ".join(str(error).split())
        raise DatasetError(f"{source} is not YAML that can be used: {said:.200}") from None
    finally:
        if loader is not None:
            loader.dispose()
    return {} if found is None else found
