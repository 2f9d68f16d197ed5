"""EuroSAT: 27,000 satellite photos of land cover in ten classes (Helber et al. 2019)."""

from pathlib import Path

from clip_adapter.datasets.folder_walk import FolderWalk
from clip_adapter.datasets.sources import FolderOptions, ImageSource, LabelledFile
from clip_adapter.datasets.splits import PublishedRow, read_published_split
from clip_adapter.errors import DatasetError
from clip_adapter.images import AS_IT_IS, ReadOptions, has_image_suffix

SPLIT_FILE_NAME = "split_zhou_EuroSAT.json"
TEMPLATES = ("a centered satellite photo of {}.",)

# Folder name to the name in prompts, in the order of the labels of CoOp's split file.
CLASS_NAMES = {
    "AnnualCrop": "Annual Crop Land",
    "Forest": "Forest",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "River": "River",
    "SeaLake": "Sea or Lake",
}
_FOLDERS = tuple(CLASS_NAMES)
# The folders that the archives of EuroSAT unpack to, newest last.
_INNER = ("", "2750", "EuroSAT", "EuroSAT_RGB")
DOWNLOAD = "https://zenodo.org/records/7711810"


def open_eurosat(folder: Path, read: ReadOptions = AS_IT_IS) -> ImageSource:
    """EuroSAT in `folder`, or in the folder its archive unpacks to inside it.

    With CoOp's `split_zhou_EuroSAT.json` beside or above the class folders, its file list and
    splits are used and files it does not list are excluded; without it every image counts and is
    assigned a split by `assign_splits`. Files beside the class folders are not looked at.

    Raises:
        DatasetError: the ten class folders are missing or hold no images, one is a link out that may
            not be followed, or the split file is malformed or has other labels.
    """
    root = _find_class_folders(folder)
    split_file = _find_split_file(folder, root)
    walk = FolderWalk(root, FolderOptions(read=read))
    _check_links(root, walk)
    found = [(label, walk.files_below(name)) for label, name in enumerate(_FOLDERS)]
    files = _label(root, found) if split_file is None else _list_published(split_file)
    listed = {file.path for file in files}
    walk.exclude(
        (path for _, paths in found for path in paths if path not in listed),
        "not in the split file",
    )
    return ImageSource(
        name="eurosat",
        folder=root,
        class_names=tuple(CLASS_NAMES.values()),
        templates=TEMPLATES,
        files=files,
        excluded=tuple(walk.excluded),
        read=read,
    )


def _find_class_folders(folder: Path) -> Path:
    places = [folder / inner for inner in _INNER]
    for place in places:
        missing = [name for name in _FOLDERS if not (place / name).is_dir()]
        if not missing:
            return place
        if len(missing) < len(_FOLDERS):
            raise DatasetError(
                f"{place} holds EuroSAT without the class folders {', '.join(missing)}; "
                f"unpack the archive again ({DOWNLOAD})"
            )
    raise DatasetError(
        f"EuroSAT was not found: looked in {', '.join(str(place) for place in places)} for the "
        f"class folders {', '.join(_FOLDERS)}. Download the RGB archive from {DOWNLOAD} and "
        f"unpack it into {folder}, or name the folder that holds it "
        "(--images), or the one above it (--data, CLIP_ADAPTER_DATA)"
    )


def _check_links(root: Path, walk: FolderWalk) -> None:
    refused = [name for name in walk.listing().refused if name in CLASS_NAMES]
    if refused:
        place = root / refused[0]
        raise DatasetError(
            f"{place} is a link to {place.resolve()}, out of {root}; say below which folder links may "
            "lead (--follow-links ROOT), or put the folder itself there"
        )


def _find_split_file(folder: Path, root: Path) -> Path | None:
    places = (root, root.parent, folder, folder.parent)
    return next((p / SPLIT_FILE_NAME for p in places if (p / SPLIT_FILE_NAME).is_file()), None)


def _label(root: Path, found: list[tuple[int, list[str]]]) -> tuple[LabelledFile, ...]:
    for label, paths in found:
        if not any(map(has_image_suffix, paths)):
            raise DatasetError(
                f"{root / _FOLDERS[label]} holds no images; unpack the archive again"
            )
    return tuple(
        LabelledFile(path, label=label, split=None) for label, paths in found for path in paths
    )


def _list_published(split_file: Path) -> tuple[LabelledFile, ...]:
    rows = read_published_split(split_file)
    for row in rows:
        _check_row(row, split_file=split_file)
    absent = set(range(len(_FOLDERS))) - {row.label for row in rows}
    if absent:
        raise DatasetError(f"{split_file} lists no image of class {_FOLDERS[min(absent)]!r}")
    return tuple(LabelledFile(row.path, label=row.label, split=row.split) for row in rows)


def _check_row(row: PublishedRow, *, split_file: Path) -> None:
    folder = row.path.partition("/")[0]
    if folder not in CLASS_NAMES:
        raise DatasetError(
            f"{split_file} lists {row.path!r}, which lies in none of {', '.join(_FOLDERS)}"
        )
    expected = (_FOLDERS.index(folder), CLASS_NAMES[folder])
    if (row.label, row.class_name) != expected:
        raise DatasetError(
            f"{split_file} gives {row.path!r} the label and class {(row.label, row.class_name)}, "
            f"expected {expected}; use CoOp's published file or remove it"
        )
