"""Class names that prompt well: from the names of folders, by stated rules."""

import re
from typing import Final

_WORDNET_ID: Final = re.compile(r"n\d{8}")
_NUMBERED: Final = re.compile(r"(\d+)[._-]+(?=[^\W\d_])")
_FILE_LIKE: Final = re.compile(
    r".\.(avif|bmp|csv|gif|heic|jfif|jpe?g|json|png|tar|tiff?|txt|webp|zip)", re.IGNORECASE
)


def prompts_badly(class_name: str) -> str | None:
    """Why a class name prompts badly, in words that follow the name; None if nothing is known.

    >>> prompts_badly("n01440764"), prompts_badly("tench")
    ('is a WordNet id', None)
    """
    if not class_name.strip() or not class_name.isprintable():
        return "is empty or has control characters"
    if _WORDNET_ID.fullmatch(class_name):
        return "is a WordNet id"
    if not any(map(str.isalpha, class_name)):
        return "has no letter"
    if len(class_name) == 1:
        return "is a single character"
    if _FILE_LIKE.search(class_name) and " " not in class_name:
        return "looks like the name of a file"
    if "_" in class_name:
        return "has underscores"
    if _NUMBERED.match(class_name):
        return "begins with a number of a list"
    if split_camel_case(class_name) != class_name:
        return "is written in CamelCase"
    return None


def split_camel_case(name: str) -> str:
    """Put a space between the words of a name in CamelCase; acronyms stay whole.

    A name of several words, "iPhone" and "McLaren" stay as they are.

    >>> split_camel_case("AnnualCrop"), split_camel_case("MRIScan"), split_camel_case("DVDs")
    ('Annual Crop', 'MRI Scan', 'DVDs')
    """
    if " " in name:
        return name
    begins = [0, *(at for at in range(1, len(name)) if _begins_word(name, at)), len(name)]
    return " ".join(name[begin:end] for begin, end in zip(begins, begins[1:], strict=False))


def _begins_word(name: str, at: int) -> bool:
    if not name[at].isupper():
        return False
    if name[at - 1].islower():  # a single letter before is a prefix: iPhone, eBay
        return at > 1 and name[at - 2].isalpha() and name[:at] != "Mc"
    after = name[at + 1 : at + 3]
    is_plural = after[:1] == "s" and not after[1:].islower()  # DVDs, TVsAndDVDs
    return name[at - 1].isupper() and after[:1].islower() and not is_plural
