"""Class names that prompt well, made from the names of class folders by stated rules.

1. `_` and `-` become spaces: `guinea_pig` is "guinea pig".
2. A WordNet id is ImageNet's class of that id: `n01440764` is "tench". Before a name it is left out:
   `n02085620-Chihuahua` is "Chihuahua". An id that is not among ImageNet's 1,000 stays.
3. A number with a dot before a name is left out: `001.Black_footed_Albatross` is "Black footed
   Albatross". With `_` or `-` in place of the dot it is left out only if every class folder begins with
   a number of its own, so that `7-eleven` among other names stays "7 eleven".
4. A single word in CamelCase is split, acronyms stay whole: `AnnualCrop` is "Annual Crop", `MRIScan`
   is "MRI Scan", and `DVDs`, `iPhone` and `McLaren` stay.

Folders that rules 2 to 4 give one name are named by rule 1 alone.

ImageNet's names are in `imagenet_class_names.csv`: those that CLIP's authors curated for prompts
(https://github.com/openai/CLIP, Prompt_Engineering_for_ImageNet; MIT License, (c) 2021 OpenAI).
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final
from unicodedata import normalize

from clip_adapter.datasets.sources import ImageSource
from clip_adapter.errors import DatasetError
from clip_adapter.images import IMAGE_SUFFIXES

_WORDNET_ID: Final = re.compile(r"n\d{8}")
# Both are followed by a letter: "3.5_mm" and "12_34" begin with no number of a list.
_ID_BEFORE_NAME: Final = re.compile(r"n\d{8}[._-]+(?=[^\W\d_])")
_NUMBER_BEFORE_NAME: Final = re.compile(r"(?P<number>\d+)(?P<mark>\.|[_-])[._-]*(?=[^\W\d_])")
_FILE_SUFFIXES: Final = (*IMAGE_SUFFIXES, ".csv", ".json", ".tar", ".txt", ".zip")
_N_SHOWN = 2  # in a note
_NO_NAMES: Mapping[str, str] = MappingProxyType({})


def name_classes(
    folders: Sequence[str],
    *,
    given: Mapping[str, str] = _NO_NAMES,
    known: Mapping[str, str] = _NO_NAMES,
) -> tuple[str, ...]:
    """The class name of each class folder, in their order.

    Args:
        folders: distinct names of class folders.
        given: names that a file gives folders; they come before the rules.
        known: names by which folders are stored. Those that rule 1 alone makes are kept.

    Raises:
        DatasetError: a folder makes no class name, or two have the same.

    >>> name_classes(["001.Black_footed_Albatross", "AnnualCrop", "n01440764"])
    ('Black footed Albatross', 'Annual Crop', 'tench')
    """
    numbered = _are_numbered(folders)
    fixed = {**_of_before(folders, known), **given}
    names = {
        folder: fixed.get(folder) or clean_name(folder, numbered=numbered) for folder in folders
    }
    counts = Counter(names.values())
    for folder in names.keys() - fixed.keys():
        if counts[names[folder]] > 1:
            names[folder] = plain_name(folder)
    _check_names(names)
    return tuple(names.values())


def plain_name(folder: str) -> str:
    """The name of a class folder with `_` and `-` turned into spaces."""
    return " ".join(folder.replace("_", " ").replace("-", " ").split())


def clean_name(folder: str, *, numbered: bool = False) -> str:
    """The class name that the rules make of one class folder.

    Args:
        folder: name of the folder.
        numbered: whether every folder beside it begins with a number of its own.

    >>> clean_name("001.Black_footed_Albatross"), clean_name("12_cat", numbered=True)
    ('Black footed Albatross', 'cat')
    """
    if _WORDNET_ID.fullmatch(folder):
        return imagenet_names().get(folder, folder)
    name = _ID_BEFORE_NAME.sub("", folder, count=1) if _ID_BEFORE_NAME.match(folder) else folder
    number = _NUMBER_BEFORE_NAME.match(name)
    if number and (numbered or number["mark"] == "."):
        name = name[number.end() :]
    return split_camel_case(plain_name(normalize("NFC", name)))


def keep_names(source: ImageSource, stored: Iterable[tuple[str, str]]) -> ImageSource:
    """The dataset with the class names of its stored index, where they follow rule 1 alone.

    Other names would make another state of the dataset, in which everything is trained again.

    Args:
        source: a dataset; unchanged where no rule named a class.
        stored: a path and the class name of images of the stored index, at least one a class.
    """
    # A class folder is the first part of a path, or the second below the folder of a split.
    known = {
        normalize("NFC", part): name
        for path, name in stored
        for part in path.split("/")[:-1][:2]
        if plain_name(part) == name
    }
    folders = [folder for folder in source.class_folders if folder is not None]
    kept = _of_before(folders, known)
    names = tuple(
        name if folder is None else kept.get(folder, name)
        for folder, name in zip(source.class_folders, source.class_names, strict=False)
    )
    if names == source.class_names[: len(names)]:
        return source
    others = [note for note in source.notes if note not in naming_notes(source)]
    renamed = replace(source, class_names=names)
    return replace(renamed, notes=(*others, *naming_notes(renamed)))


def naming_notes(source: ImageSource) -> tuple[str, ...]:
    """One sentence about the class names that more than `_` and `-` tells from their folders."""
    changed = [
        f"{folder} is {name!r}"
        for folder, name in zip(source.class_folders, source.class_names, strict=False)
        if folder is not None and name != plain_name(folder)
    ]
    shown = ", ".join(changed[:_N_SHOWN])
    more = f" and {len(changed) - _N_SHOWN} more" if len(changed) > _N_SHOWN else ""
    note = f"class names from folders: {shown}{more}; --class-names FILE names them otherwise"
    return (note,) if changed else ()


def prompts_badly(class_name: str) -> str | None:
    """Why a class name prompts badly, in words that follow the name; None if nothing is known.

    >>> prompts_badly("n01440764"), prompts_badly("tench")
    ('is a WordNet id', None)
    """
    return next((words for words, holds in _BAD_PROMPTS.items() if holds(class_name)), None)


def split_camel_case(name: str) -> str:
    """Put a space between the words of a name in CamelCase; acronyms stay whole.

    A name of several words, "iPhone" and "McLaren" stay as they are.

    >>> split_camel_case("AnnualCrop"), split_camel_case("MRIScan"), split_camel_case("DVDs")
    ('Annual Crop', 'MRI Scan', 'DVDs')
    """
    if " " in name:
        return name
    bounds = [0, *(at for at in range(1, len(name)) if _begins_word(name, at)), len(name)]
    return " ".join(name[begin:end] for begin, end in pairwise(bounds))


def _begins_word(name: str, at: int) -> bool:
    if not name[at].isupper():
        return False
    if name[at - 1].islower():  # a single letter before is a prefix: iPhone, eBay
        return at > 1 and name[at - 2].isalpha() and name[:at] != "Mc"
    after = name[at + 1 : at + 3]
    is_plural = after[:1] == "s" and not after[1:].islower()  # DVDs, TVsAndDVDs
    return name[at - 1].isupper() and after[:1].islower() and not is_plural


_BAD_PROMPTS: Mapping[str, Callable[[str], object]] = MappingProxyType(
    {
        "is empty or has control characters": lambda name: (
            not name.strip() or not name.isprintable()
        ),
        "is a number": str.isdigit,
        "is a single character": lambda name: len(name) == 1,
        "is a WordNet id": _WORDNET_ID.fullmatch,
        "begins with a WordNet id": _ID_BEFORE_NAME.match,
        "has no letter": lambda name: not any(map(str.isalpha, name)),
        "looks like the name of a file": lambda name: name.lower().endswith(_FILE_SUFFIXES),
        "has underscores": lambda name: "_" in name,
        "begins with the number of a list": _NUMBER_BEFORE_NAME.match,
        "is written in CamelCase": lambda name: split_camel_case(name) != name,
    }
)
"""What is wrong with a class name that a test holds of; the first counts."""


def _are_numbered(folders: Sequence[str]) -> bool:
    """Whether every folder begins with a number of its own; 2-door and 4-door among others do not."""
    numbers = [match["number"] for match in map(_NUMBER_BEFORE_NAME.match, folders) if match]
    return len(set(numbers)) == len(folders)


def _of_before(folders: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """The known names that rule 1 alone makes, by folder, whatever the Unicode form of either."""
    named = {folder: known.get(normalize("NFC", folder), "") for folder in folders}
    return {
        folder: name
        for folder, name in named.items()
        if name and normalize("NFC", name) == normalize("NFC", plain_name(folder))
    }


def _check_names(names: Mapping[str, str]) -> None:
    folders: dict[str, str] = {}
    for folder, name in names.items():
        if not name or not name.isprintable():
            raise DatasetError(
                f"class folder {folder!r} makes no class name; rename it, or name it with "
                "--class-names FILE"
            )
        if name in folders:
            raise DatasetError(
                f"class folders {folders[name]!r} and {folder!r} both read {name!r}; rename one, or "
                "name it with --class-names FILE"
            )
        folders[name] = folder


@cache
def imagenet_names() -> Mapping[str, str]:
    """ImageNet's class names by WordNet id."""
    file = Path(__file__).parent / "imagenet_class_names.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    return {
        row["wnid"]: row["name"]
        for row in csv.DictReader(line for line in lines if not line.startswith("#"))
    }
