"""Descriptions of published datasets: one YAML file each in the folder `known`, and no code.

The name of a file is the name of the dataset. Its keys are the attributes of `DatasetDescription`;
`title`, `what`, `folders` and `templates` are needed, and what says which image has which class:
`split_file`, `lists`, or class folders. docs/datasets.md describes the keys.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from clip_adapter.datasets.class_names import imagenet_names
from clip_adapter.datasets.dataset_file import (
    check_keys,
    decode_text,
    parse_yaml,
    text_of,
    texts_of,
)
from clip_adapter.datasets.sources import PROMPT_STYLES, check_name, check_templates
from clip_adapter.datasets.splits import SPLITS, Split
from clip_adapter.errors import DatasetError

FOLDER = Path(__file__).parent / "known"
"""Folder of the descriptions."""

CLASS_FOLDERS: Final = ("no", "yes", "numbers")
_DIGESTS: Final = {"md5": 32, "sha256": 64}  # hexadecimal digits
_ANSWERS: Final = {"yes": True, "no": False}
_FILE_NAME: Final = r"\w[\w-]*\.[\w.-]+"
_DOWNLOAD_KEYS: Final = ("url", *_DIGESTS, "max_mb", "inner")


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file that is downloaded into the folder of a dataset, and unpacked there if it is an archive.

    Attributes:
        url: address, http or https.
        max_mb: largest size in megabytes (10**6 bytes).
        algorithm: "md5" or "sha256"; None where no digest is published.
        digest: digest of the file in hexadecimal; empty where none is published.
        inner: name of an archive in the archive, which is unpacked in its place; None if there is none.
    """

    url: str
    max_mb: int
    algorithm: str | None
    digest: str
    inner: str | None

    @property
    def file_name(self) -> str:
        """Name of the file, from the address."""
        return self.url.partition("?")[0].rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class DatasetDescription:
    """What is known of a published dataset before it is on this machine.

    Attributes:
        name: name of the dataset in a store.
        title: name of the dataset as papers write it.
        what: description in a few words.
        folders: names that its folder may have in the folder of datasets; CoOp's first.
        images: where in its folder the images may lie; the first that fits is taken.
        split_file: name of the published split file in CoOp's form; None if there is none.
        split_file_at: address where people get that file; None if it is not known.
        needs_split_file: whether no other division of the images will do.
        lists: text files that list the images of each split, for want of the split file.
        list_path: path of an image from the first word of a line, with one `{}`.
        class_list: text file with a class a line, in the order of the labels; None where `classes`
            has them.
        names_from_folders: "reversed" where the parts of a class folder, without the first, name the
            class from last to first.
        split_folders: folder of each split in that of the images; None for class folders that have no
            split.
        class_folders: whether each class has a folder: "no", "yes", or "numbers" for its label.
        classes: folder and name of each class by label; empty where a file of the dataset names them.
        n_classes: number of classes; fewer than `classes` if only those count whose folder is there.
        templates: prompts with one `{}` for the class name.
        counts: published number of images of each split.
        licence: licence of the images.
        accept_licence: whether people have to accept the licence before the images are downloaded.
        citation: what to cite.
        homepage: address of the dataset.
        steps: what people have to do by themselves, with `{folder}` for the folder of the dataset.
        downloads: files to download.
    """

    name: str
    title: str
    what: str
    folders: tuple[str, ...]
    images: tuple[str, ...]
    split_file: str | None
    split_file_at: str | None
    needs_split_file: bool
    lists: Mapping[Split, str]
    list_path: str
    class_list: str | None
    names_from_folders: str | None
    split_folders: Mapping[Split | None, str]
    class_folders: Literal["no", "yes", "numbers"]
    classes: tuple[tuple[str, str], ...]
    n_classes: int
    templates: tuple[str, ...]
    counts: Mapping[Split, int]
    licence: str | None
    accept_licence: bool
    citation: str | None
    homepage: str | None
    steps: tuple[str, ...]
    downloads: tuple[Download, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by label; empty where a file of the dataset names them."""
        return tuple(name for _, name in self.classes)

    @property
    def test_only(self) -> bool:
        """Whether all its images are test images, so that nothing can be trained on it."""
        return set(self.split_folders) == {"test"}

    def folder_in(self, data: Path) -> Path:
        """The folder of the dataset in a folder of datasets: the first that is there, else CoOp's."""
        places = [data / folder for folder in self.folders]
        return next((place for place in places if place.is_dir()), places[0])


def known_names() -> tuple[str, ...]:
    """The names of the described datasets, sorted; their files are not read."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def describe(name: str) -> DatasetDescription:
    """The description of one of `known_names`; raises as `read_description`."""
    return read_description(FOLDER / f"{name}.yaml")


def canonical_name(name: str) -> str:
    """The name of a described dataset in another spelling, `oxford_pets` or `food101`; else `name`.

    >>> canonical_name("oxford_pets"), canonical_name("food101"), canonical_name("my_pets")
    ('oxford-pets', 'food-101', 'my_pets')
    """
    plain = _without_marks(name)
    return next((each for each in known_names() if _without_marks(each) == plain), name)


def _without_marks(name: str) -> str:
    return name.replace("_", "").replace("-", "")


@cache
def read_description(path: Path) -> DatasetDescription:
    """Read the description of a dataset.

    Raises:
        DatasetError: the file is missing, malformed or contradicts itself; the message says where.
    """
    source = str(path)
    try:
        text = decode_text(path.read_bytes(), source)
    except OSError as error:
        raise DatasetError(f"{source} cannot be read: {error.strerror}") from error
    check_name(path.stem, what=f"the name of {source}")
    values = parse_yaml(text, source)
    check_keys(values, _KEYS, source=source)
    lacking = [key for key in ("title", "what", "folders", "templates") if not values.get(key)]
    if lacking:
        raise DatasetError(f"{source} lacks {', '.join(lacking)}")
    described = _described(path.stem, values, source)
    _check(described, source)
    return described


def _described(name: str, values: Mapping[str, Any], source: str) -> DatasetDescription:
    def text(key: str) -> str:
        return text_of(values.get(key, ""), what=f"{key} of {source}")

    def texts(key: str) -> tuple[str, ...]:
        return texts_of(values.get(key, []), what=f"{key} of {source}")

    def by_split(key: str) -> dict[Split, str]:
        mapping = values.get(key, {})
        check_keys(mapping, SPLITS, source=f"{key} of {source}")
        return {split: text_of(each, what=f"{key} of {source}") for split, each in mapping.items()}

    def answer(key: str) -> bool:
        return _ANSWERS[_one_of(text(key) or "no", tuple(_ANSWERS), what=f"{key} of {source}")]

    class_folders = _one_of(
        text("class_folders") or "no", CLASS_FOLDERS, what=f"class_folders of {source}"
    )
    classes = _classes(values.get("classes", []), source, numbered=class_folders == "numbers")
    counts = {
        split: _number(each, what=f"counts of {source}")
        for split, each in by_split("counts").items()
    }
    split_folders: dict[Split | None, str] = dict(by_split("split_folders").items())
    downloads = values.get("downloads", [])
    if not isinstance(downloads, list):
        raise DatasetError(f"downloads of {source}: expected a list")
    return DatasetDescription(
        name=name,
        title=text("title"),
        what=text("what"),
        folders=texts("folders"),
        images=texts("images") or ("",),
        split_file=text("split_file") or None,
        split_file_at=text("split_file_at") or None,
        needs_split_file=answer("needs_split_file"),
        lists=by_split("lists"),
        list_path=text("list_path") or "{}",
        class_list=text("class_list") or None,
        names_from_folders=text("names_from_folders") or None,
        split_folders=split_folders or {None: ""},
        class_folders=class_folders,
        classes=classes,
        n_classes=_number(
            values.get("n_classes", str(len(classes))), what=f"n_classes of {source}"
        ),
        templates=tuple(
            template for each in texts("templates") for template in PROMPT_STYLES.get(each, (each,))
        ),
        counts=counts,
        licence=text("licence") or None,
        accept_licence=answer("accept_licence"),
        citation=text("citation") or None,
        homepage=text("homepage") or None,
        steps=tuple(" ".join(each.split()) for each in texts("steps")),
        downloads=tuple(_download(each, source) for each in downloads),
    )


_KEYS: Final = tuple(name for name in DatasetDescription.__dataclass_fields__ if name != "name")


def _classes(classes: Any, source: str, *, numbered: bool) -> tuple[tuple[str, str], ...]:
    """Folder and name of each class; a text is a folder, in whose name `_` becomes a space."""
    what = f"classes of {source}"
    if classes == "imagenet":
        named = imagenet_names().items()
        return tuple(
            (str(label) if numbered else wnid, name) for label, (wnid, name) in enumerate(named)
        )
    if not isinstance(classes, list):
        raise DatasetError(f"{what}: expected a list of folders, or of mappings of one to its name")
    found: list[tuple[str, str]] = []
    for each in classes:
        if isinstance(each, Mapping) and len(each) == 1:
            ((folder, name),) = each.items()
        else:
            folder, name = each, each.replace("_", " ") if isinstance(each, str) else each
        found.append((text_of(folder, what=what), text_of(name, what=what)))
    for column in zip(*found, strict=True):
        twice = {each for each in column if column.count(each) > 1}
        if twice:
            raise DatasetError(f"{what}: {min(twice)!r} comes twice; name it once")
    return tuple(found)


def _download(values: Any, source: str) -> Download:
    what = f"a download of {source}"
    check_keys(values, _DOWNLOAD_KEYS, source=what)
    texts = {key: text_of(values.get(key, ""), what=what) for key in _DOWNLOAD_KEYS}
    if not re.match(r"https?://", texts["url"]):
        raise DatasetError(f"{what} has the url {texts['url']!r}; expected http:// or https://")
    algorithm = next((each for each in ("sha256", "md5") if texts[each]), None)
    digest = texts[algorithm] if algorithm else ""
    if algorithm and not re.fullmatch(f"[0-9a-f]{{{_DIGESTS[algorithm]}}}", digest):
        raise DatasetError(f"{what} has the {algorithm} {digest!r}; expected hexadecimal digits")
    return Download(
        url=texts["url"],
        max_mb=_number(texts["max_mb"], what=f"max_mb of {what}"),
        algorithm=algorithm,
        digest=digest,
        inner=texts["inner"] or None,
    )


def _check(described: DatasetDescription, source: str) -> None:
    check_templates(described.templates)
    has_list = described.split_file or described.lists
    if not has_list and described.class_folders == "no":
        raise DatasetError(
            f"{source} does not say which image has which class: give split_file, lists, or "
            "class_folders: yes with classes"
        )
    if described.class_folders != "no" and not described.classes:
        raise DatasetError(f"{source} says that classes have folders, and lists no classes")
    if described.n_classes < 2:
        raise DatasetError(f"{source} has {described.n_classes} classes; classifying takes two")
    _check_downloads(described.downloads, source)
    paths = (*described.folders, *described.images, *described.lists.values())
    paths += (*described.split_folders.values(), described.split_file or "")
    for path in (*paths, described.class_list or "", *(folder for folder, _ in described.classes)):
        if path.startswith("/") or ".." in path.split("/"):
            raise DatasetError(f"{source} has the path {path!r}; expected one inside the folder")
    if described.list_path.count("{}") != 1:
        raise DatasetError(f"list_path of {source} is {described.list_path!r}; expected one {{}}")
    if described.names_from_folders not in {None, "reversed"}:
        raise DatasetError(
            f"names_from_folders of {source} is {described.names_from_folders!r}; expected 'reversed'"
        )


def _check_downloads(downloads: tuple[Download, ...], source: str) -> None:
    """Raise unless each download has a file name of its own, and archives in archives have plain names."""
    names: dict[str, str] = {}
    for each in downloads:
        name = each.file_name
        if not re.fullmatch(_FILE_NAME, name, re.ASCII):
            raise DatasetError(
                f"a download of {source} has the url {each.url!r:.200}; expected one that ends in the name of "
                "the file with its suffix, of letters, digits, dots, dashes and underscores"
            )
        if name.lower() in names:
            raise DatasetError(
                f"{source} has two downloads called {names[name.lower()]!r}; expected different names"
            )
        names[name.lower()] = name
        if each.inner is not None and not re.fullmatch(_FILE_NAME, each.inner, re.ASCII):
            raise DatasetError(
                f"a download of {source} has the inner {each.inner!r:.200}; expected the name of an archive "
                "in the archive, without its folder"
            )


def _one_of(text: str, choices: tuple[Any, ...], *, what: str) -> Any:
    if text not in choices:
        raise DatasetError(f"{what} is {text!r}; expected {', '.join(choices)}")
    return text


def _number(text: Any, *, what: str) -> int:
    if not isinstance(text, str) or not re.fullmatch(r"\d{1,12}", text, re.ASCII):
        raise DatasetError(f"{what}: found {text!r:.40}, expected a whole number")
    return int(text)
