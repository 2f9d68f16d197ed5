"""The known datasets by name; a file in the folder `known` adds one, a form of own data a prefix here."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from clip_adapter.datasets import digits, imagefolder
from clip_adapter.datasets.described import open_described
from clip_adapter.datasets.descriptions import canonical_name, describe, known_names
from clip_adapter.datasets.digits import open_digits
from clip_adapter.datasets.imagefolder import open_imagefolder
from clip_adapter.datasets.own_data import FORMS, check_columns, default_name, form_of, open_own
from clip_adapter.datasets.sources import FolderOptions, ImageSource
from clip_adapter.errors import DatasetError, UnknownNameError
from clip_adapter.images import DEFAULT_OPTIONS

IMPORTED = "features:"
"""Prefix of the name of a dataset that has imported features and no images."""

_FORMS: Mapping[str, str] = MappingProxyType(
    {
        "imagefolder:PATH": "your own pictures, as class/image or split/class/image",
        **{form.written: form.what for form in FORMS.values()},
        "features:NAME": "features made elsewhere, after `clip-adapter cache import`",
    }
)
"""Forms of own data, with a description in a few words."""
_DIGITS = "1,797 handwritten digits, 8 x 8 grey; comes with scikit-learn, no download"


class _Datasets(Mapping[str, str]):
    """Descriptions by name; the file of a described dataset is read when it is looked up."""

    def __getitem__(self, name: str) -> str:
        if name in known_names():
            described = describe(name)
            return f"{described.title}: {described.what}"
        return {"digits": _DIGITS, **_FORMS}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("digits", *known_names(), *_FORMS))

    def __len__(self) -> int:
        return len(list(iter(self)))


DATASETS: Mapping[str, str] = _Datasets()
"""Description of every dataset and form of own data, by the name that `open_dataset` takes."""

GENERATED = frozenset({"digits"})
"""Datasets whose missing images are written into `data/<name>` when they are opened."""

OWN_FOLDER = "imagefolder:"
"""Prefix of a dataset that is a folder of images, before the path."""

_NAME_BY_PATH = "imagefolder-"
"""Prefix of the names that earlier versions made from the path of a folder."""

_AS_IT_IS = FolderOptions()


def reserved_names() -> frozenset[str]:
    """Names that no folder of images and no imported features may have in a store."""
    return frozenset(each.partition(":")[0] for each in DATASETS)


def open_dataset(
    name: str, *, data: Path, images: Path | None = None, options: FolderOptions = _AS_IT_IS
) -> ImageSource:
    """Open the dataset called `name`: its files are listed, no image is decoded.

    Missing images of a dataset in `GENERATED` are written first.

    Args:
        name: `digits`, a described dataset as `eurosat` or `oxford_pets`, `imagefolder:PATH`, or another of
            the forms of own data in `FORMS`.
        data: folder of dataset folders, in CoOp's layout (`eurosat/2750/...`).
        images: folder of this dataset, instead of `data/<name>`.
        options: what the user says about the folder; only `read` if the dataset is no imagefolder.

    Raises:
        UnknownNameError: there is no dataset of that name.
        DatasetError: the folder is missing, unreadable or not laid out as expected; or an option
            would change nothing, as a name for another dataset than a folder.
    """
    check_is_folder(name, options)
    kind, colon, _ = name.partition(":")
    try:
        if kind == "imagefolder":
            return open_imagefolder(own_folder(name, images=images), options)
        if form := form_of(name):
            return open_own(name, form, images, options)
        if f"{kind}:" == IMPORTED:
            raise DatasetError(f"{name!r} has features made elsewhere, and no images to open")
        if name == "digits":
            return open_digits(images or data / name, options.read)
        if colon or canonical_name(name) not in known_names():
            check_no_folder(name)
            raise UnknownNameError("dataset", name, DATASETS)
        described = describe(canonical_name(name))
        return open_described(described, images or described.folder_in(data), options.read)
    except OSError as error:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}") from error


def templates_of(slug: str) -> tuple[str, ...]:
    """The prompts of an indexed dataset of images, by its name in the store."""
    if slug in known_names():
        return describe(slug).templates
    return digits.TEMPLATES if slug == "digits" else imagefolder.TEMPLATES


def description_of(slug: str) -> str:
    """Description of an indexed dataset of images, by its name in the store."""
    return DATASETS.get(slug, "a folder of your own: imagefolder:PATH")


def check_dataset(
    name: str, *, data: Path, images: Path | None = None, options: FolderOptions = _AS_IT_IS
) -> str:
    """Raise the errors of `open_dataset` without writing generated images.

    Returns:
        The name of the dataset, as far as its folder and the options say.
    """
    check_is_folder(name, options)
    if name in GENERATED:
        return name
    return open_dataset(name, data=data, images=images, options=options).name


def check_free_name(name: str) -> None:
    """Refuse the name of one of `DATASETS` for another dataset.

    Raises:
        DatasetError: the name is taken, or reserved for folders of images.
    """
    if name in reserved_names() or name.startswith(_NAME_BY_PATH):
        raise DatasetError(f"{name!r} is the name of a dataset of images: choose another name")


def check_no_folder(name: str) -> None:
    """Refuse the path of a folder where the name of a dataset is expected.

    Call it with a name that no dataset has; a folder may share the name of one.

    Args:
        name: dataset as the user spelled it.

    Raises:
        DatasetError: it is a folder; the message has the name with its prefix.
    """
    # Unlike pathlib, os.path raises no error for an unknown user (`~name`) or a zero byte.
    if os.path.isdir(os.path.expanduser(name)):  # noqa: PTH111, PTH112
        path = name.rstrip(os.sep) or name
        raise DatasetError(f"{name!r} is a folder: write imagefolder:{path}")


def check_imported_alone(dataset: str, **choices: object) -> None:
    """Refuse parameters about images and their encoding for imported features.

    Args:
        dataset: name as the user spelled it; a dataset of images may have any parameters.
        choices: parameters by the name of their option; an empty value was not given.

    Raises:
        DatasetError: a parameter would have no effect; the message names all of them.
    """
    chosen = [f"--{name}" for name, value in choices.items() if value]
    if dataset.startswith(IMPORTED) and chosen:
        raise DatasetError(
            f"{dataset!r} was encoded elsewhere, so {', '.join(chosen)} can change nothing: leave "
            "it out; features of another encoder are imported under another name"
        )


def check_is_folder(dataset: str, options: FolderOptions) -> None:
    """Refuse options that would change nothing for a dataset that is not a folder of images.

    Raises:
        DatasetError: the dataset has a name, classes or files of its own, or no files at all; the
            message names all these options.
    """
    check_columns(dataset, form_of(dataset), options)
    # A name that no dataset has is refused for that, perhaps with the right spelling of a folder.
    is_known = dataset == "digits" or canonical_name(dataset) in known_names()
    if not is_known and not dataset.startswith(IMPORTED):
        return
    given: dict[str, object] = {
        "name": options.name,
        "class-names": options.class_names,
        "ignore": options.ignore,
    }
    if dataset.startswith(IMPORTED):
        given["follow-links"] = options.read.follow_links
        given["max-pixels"] = options.read.max_pixels != DEFAULT_OPTIONS.max_pixels
    chosen = ", ".join(f"--{name}" for name, value in given.items() if value)
    if chosen:
        raise DatasetError(
            f"{chosen} can change nothing for {dataset!r}, which is no folder of your own "
            f"(imagefolder:PATH): leave {chosen} out"
        )


def is_own_data(dataset: str) -> bool:
    """Whether a dataset is a user's own, as a folder of images or in another of the forms."""
    return dataset.startswith(OWN_FOLDER) or form_of(dataset) is not None


def own_name(dataset: str) -> str | None:
    """The name that a table or container has without `--name`, unread; None for other datasets."""
    form = form_of(dataset)
    return None if form is None else default_name(dataset, form)


def own_folder(dataset: str, *, images: Path | None = None) -> Path:
    """The folder of `imagefolder:PATH`; it may not exist.

    Raises:
        DatasetError: there is no path, or `images` is a second one.
    """
    path = dataset.partition(":")[2]
    if not path:
        raise DatasetError("'imagefolder' does not say which folder: write imagefolder:PATH")
    if images is not None:
        raise DatasetError(
            f"two folders are named, imagefolder:{path} and --images {images}; drop --images"
        )
    return Path(path).expanduser()
