"""The known datasets by name; an entry of `DATASETS` and `_OPENERS` adds one."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from clip_adapter.datasets import digits, eurosat, imagefolder
from clip_adapter.datasets.digits import open_digits
from clip_adapter.datasets.eurosat import open_eurosat
from clip_adapter.datasets.imagefolder import open_imagefolder
from clip_adapter.datasets.sources import FolderOptions, ImageSource
from clip_adapter.errors import DatasetError, UnknownNameError

IMPORTED = "features:"
"""Prefix of the name of a dataset that has imported features and no images."""

DATASETS: Mapping[str, str] = MappingProxyType(
    {
        "digits": "1,797 handwritten digits, 8 x 8 grey; comes with scikit-learn, no download",
        "eurosat": "27,000 satellite photos of land cover in 10 classes, 64 x 64 colour",
        "imagefolder:PATH": "your own pictures, as class/image or split/class/image",
        "features:NAME": "features made elsewhere, after `clip-adapter cache import`",
    }
)
GENERATED = frozenset({"digits"})
"""Datasets whose missing images are written into `data/<name>` when they are opened."""

_OWN_FOLDER = "imagefolder-"
"""Prefix of the name of a folder of images in the store."""

_OPENERS: Mapping[str, Callable[[Path], ImageSource]] = MappingProxyType(
    {"digits": open_digits, "eurosat": open_eurosat}
)


_AS_IT_IS = FolderOptions()


def open_dataset(
    name: str, *, data: Path, images: Path | None = None, options: FolderOptions = _AS_IT_IS
) -> ImageSource:
    """Open the dataset called `name`: its files are listed, no image is decoded.

    Missing images of a dataset in `GENERATED` are written first.

    Args:
        name: `digits`, `eurosat`, or `imagefolder:PATH`.
        data: folder of dataset folders, in CoOp's layout (`eurosat/2750/...`).
        images: folder of this dataset, instead of `data/<name>`.
        options: what the user says about the folder.

    Raises:
        UnknownNameError: there is no dataset of that name.
        DatasetError: the folder is missing, unreadable or not laid out as expected.
    """
    kind, colon, path = name.partition(":")
    try:
        if kind == "imagefolder":
            return open_imagefolder(_own_path(path, images=images), options)
        if f"{kind}:" == IMPORTED:
            raise DatasetError(f"{name!r} has features made elsewhere, and no images to open")
        if colon or kind not in _OPENERS:
            check_no_folder(name)
            _refuse_stored_name(name)
            raise UnknownNameError("dataset", name, DATASETS)
        return _OPENERS[kind](images or data / kind)
    except OSError as error:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}") from error


def templates_of(slug: str) -> tuple[str, ...]:
    """The prompts of an indexed dataset of images, by its name in the store."""
    known = {"digits": digits.TEMPLATES, "eurosat": eurosat.TEMPLATES}
    return known.get(slug, imagefolder.TEMPLATES)


def description_of(slug: str) -> str:
    """Description of an indexed dataset of images, by its name in the store; empty for any other."""
    if slug.startswith(_OWN_FOLDER):
        return "a folder of your own: imagefolder:PATH"
    return DATASETS.get(slug, "")


def check_dataset(
    name: str, *, data: Path, images: Path | None = None, options: FolderOptions = _AS_IT_IS
) -> str:
    """Raise the errors of `open_dataset` without writing generated images.

    Returns:
        The name of the dataset in the store.
    """
    if name in GENERATED:
        return name
    return open_dataset(name, data=data, images=images, options=options).name


def check_free_name(name: str) -> None:
    """Refuse the name of one of `DATASETS` for another dataset.

    Raises:
        DatasetError: the name is taken, or reserved for folders of images.
    """
    taken = {each.partition(":")[0] for each in DATASETS}
    if name in taken or name.startswith(_OWN_FOLDER):
        raise DatasetError(f"{name!r} is the name of a dataset of images: choose another name")


def check_no_folder(name: str) -> None:
    """Refuse the path of a folder where the name of a dataset is expected.

    Call it with a name that no dataset has; a folder may share the name of one.

    Args:
        name: dataset as the user spelled it.

    Raises:
        DatasetError: it is a folder; the message has the name with its prefix.
    """
    # Unlike pathlib, os.path raises nothing, whatever the name: `~nobody`, a null character.
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


def _refuse_stored_name(name: str) -> None:
    if name.startswith(_OWN_FOLDER):
        raise DatasetError(
            f"{name!r} is how a folder of images is called in the store: write imagefolder: and "
            "the folder, as when it was indexed"
        )


def _own_path(path: str, *, images: Path | None) -> Path:
    if not path:
        raise DatasetError("'imagefolder' does not say which folder: write imagefolder:PATH")
    if images is not None:
        raise DatasetError(
            f"two folders are named, imagefolder:{path} and --images {images}; drop --images"
        )
    return Path(path).expanduser()
