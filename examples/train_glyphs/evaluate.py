"""The two judges of every setting, both of fonts that training has not seen.

Zero-shot reading of characters, and learning strange alphabets from a few examples: what a CLIP
is asked to do. No label of a real data set is among them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import open_clip
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from .bank import GlyphBank, build_bank
from .captions import DIGIT_WORDS
from .degrade import Degradation
from .fit import embed_images, embed_texts
from .fonts import CHARACTERS, STRANGE_ALPHABETS, styles
from .render import Distortion, Rendering, render

_SEED = 99  # the exams stay the same whatever the seed of training
_COPIES = 24  # pictures of each glyph
_SHOTS, _WAYS, _ROUNDS = 16, 10, 10


@dataclass(frozen=True)
class Exam:
    """Pictures [n, 1, h, w], the number of each one's caption, and the captions to choose from."""

    pictures: Tensor
    answers: Tensor
    captions: tuple[str, ...]


def judge(model: open_clip.CLIP, image_size: int) -> dict[str, float]:
    """Accuracies on all the exams, by name; the model must be in eval mode."""
    digits, characters = CHARACTERS[:10], CHARACTERS
    return {
        "zero-shot, digits of held-out fonts": zero_shot_accuracy(
            model, zero_shot_exam(digits, image_size)
        ),
        "zero-shot, all characters of held-out fonts": zero_shot_accuracy(
            model, zero_shot_exam(characters, image_size)
        ),
        "linear probe at 16 shots, strange alphabets": probe_accuracy(model, image_size),
    }


def zero_shot_exam(characters: str, image_size: int) -> Exam:
    """Pictures of the first characters of `CHARACTERS` in the held-out fonts, and their captions."""
    bank = build_bank(styles(held_out=True))
    rows = (bank.characters < len(characters)).nonzero()[:, 0].repeat(_COPIES)
    return Exam(
        pictures=_render(bank, rows, Rendering(image_size)),
        answers=bank.characters[rows],
        captions=tuple(_caption(character) for character in characters),
    )


def _caption(character: str) -> str:
    if character.isdigit():
        return f"a picture of the digit {DIGIT_WORDS[int(character)]}."
    return f"a picture of the {'capital' if character.isupper() else 'small'} letter {character}."


@torch.no_grad()
def zero_shot_accuracy(model: open_clip.CLIP, exam: Exam) -> float:
    """Share of the pictures whose nearest caption is the true one."""
    prototypes = embed_texts(model, list(exam.captions))
    predicted = (_embed(model, exam.pictures) @ prototypes.T).argmax(dim=1)
    return (predicted == exam.answers).float().mean().item()


def probe_accuracy(model: open_clip.CLIP, image_size: int) -> float:
    """Mean accuracy of linear probes, each trained on 16 pictures of 10 glyphs never seen before.

    The pictures are as poor as small scans are: 8 x 8 pixels, filled by the glyph.
    """
    bank = build_bank(STRANGE_ALPHABETS)
    rows = torch.arange(len(bank.characters)).repeat_interleave(_SHOTS + _COPIES)
    poor = Rendering(
        image_size,
        Distortion(rotation=0.15, shear=0.25, stretch=0.25, bends=(0.08, 0.05), height=(0.95, 1.0)),
        Degradation(sizes=(8,), dark_ink=0.0, ink_contrast=0.9, noise=0.03),
    )
    features = _embed(model, _render(bank, rows, poor)).numpy()
    by_glyph = features.reshape(len(bank.characters), _SHOTS + _COPIES, -1)
    return float(np.mean([_probe(by_glyph[chosen]) for chosen in _draw_glyphs(len(by_glyph))]))


def _draw_glyphs(n_glyphs: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(_SEED)
    for _ in range(_ROUNDS):
        yield random.choice(n_glyphs, _WAYS, replace=False)


def _probe(features: np.ndarray) -> float:
    """Accuracy of a probe on features [ways, pictures, d]: the first 16 train, the others test."""
    train, test = features[:, :_SHOTS], features[:, _SHOTS:]
    probe = LogisticRegression(C=100, max_iter=1000)
    probe.fit(*_labelled(train))
    return float(probe.score(*_labelled(test)))


def _labelled(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ways, pictures, width = features.shape
    return features.reshape(-1, width), np.repeat(np.arange(ways), pictures)


def _render(bank: GlyphBank, rows: Tensor, rendering: Rendering) -> Tensor:
    return render(bank, rows, rendering, generator=torch.Generator().manual_seed(_SEED))


@torch.no_grad()
def _embed(model: open_clip.CLIP, pictures: Tensor) -> Tensor:
    return torch.cat([embed_images(model, part) for part in torch.split(pictures, 256)])
