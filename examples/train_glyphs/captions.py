"""What can truthfully be said of a picture of a character, and which captions are true of which."""

import string
from dataclasses import dataclass

import torch
from torch import Tensor

from .fonts import CHARACTERS

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_DIGIT_NOUNS = ("digit", "number", "numeral", "figure")
_FRAMES = (
    "{}",
    "{}.",
    "the {}.",
    "a picture of the {}.",
    "an image of the {}.",
    "a photo of the {}.",
    "a drawing of the {}.",
    "a small picture of the {}.",
    "a blurry photo of the {}.",
    "a printed {}.",
)


@dataclass(frozen=True)
class Caption:
    """A sentence and the characters that it is true of ("the letter c" is true of C and c)."""

    text: str
    characters: frozenset[str]


def captions_of(character: str) -> tuple[Caption, ...]:
    """Every caption that may stand under a picture of the character."""
    return tuple(
        Caption(frame.format(phrase), characters)
        for phrase, characters in _phrases(character)
        for frame in _FRAMES
    )


def _phrases(character: str) -> list[tuple[str, frozenset[str]]]:
    alone = frozenset({character})
    if character.isdigit():
        names = (DIGIT_WORDS[int(character)], character)
        return [(f"{noun} {name}", alone) for noun in _DIGIT_NOUNS for name in names]
    kinds = (
        ("capital", "uppercase") if character in string.ascii_uppercase else ("small", "lowercase")
    )
    either = frozenset({character.upper(), character.lower()})
    cased = [(f"{kind} letter {character}", alone) for kind in kinds]
    # Said twice, so that case is named in half of the captions.
    return [(f"letter {character}", either), (f"letter {character}", either), *cased]


def draw_captions(generator: torch.Generator) -> list[Caption]:
    """One caption for each character of `CHARACTERS`, in that order."""
    drawn = []
    for character in CHARACTERS:
        choices = captions_of(character)
        drawn.append(choices[int(torch.randint(len(choices), (), generator=generator))])
    return drawn


def truth(characters: Tensor, captions: list[Caption]) -> Tensor:
    """Whether caption j is true of a picture of character i: bool [n, captions].

    `characters` are indices into `CHARACTERS`.
    """
    table = torch.tensor(
        [[character in caption.characters for caption in captions] for character in CHARACTERS]
    )
    return table[characters]
