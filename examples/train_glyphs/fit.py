"""Training of the two towers on pictures that never repeat."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import open_clip
import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from .bank import GlyphBank
from .captions import draw_captions, truth
from .degrade import degrade
from .objective import contrastive_loss, same_drawing_loss
from .render import Rendering, draw_ink

_MOST_CERTAIN = math.log(100)  # CLIP's ceiling on the learned logit scale


@dataclass(frozen=True)
class Settings:
    """How to train; the defaults are those of the published weights.

    Attributes:
        steps: few on purpose; the model card says why, and what 1,500 bring.
        batch_size: drawings a step; each is seen through two cameras.
        same_drawing: weight of the self-supervised loss beside the captions' loss.
    """

    steps: int = 300
    batch_size: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warmup_steps: int = 50
    same_drawing: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Step:
    """What a training step reports: its number from 1, its loss, the logit scale after it."""

    number: int
    loss: float
    logit_scale: float


def fit(
    model: open_clip.CLIP,
    bank: GlyphBank,
    rendering: Rendering,
    *,
    settings: Settings,
    report: Callable[[Step], None],
) -> None:
    """Train in place, one freshly rendered batch a step; the same seed draws the same batches."""
    generator = torch.Generator().manual_seed(settings.seed)
    optimizer = _optimizer(model, settings)
    schedule = LambdaLR(optimizer, lambda step: _warm_then_cosine(step, settings))
    model.train()
    for number in range(1, settings.steps + 1):
        # Every glyph of every style alike: digits are one in six.
        rows = torch.randint(len(bank.characters), (settings.batch_size,), generator=generator)
        captions_loss, drawings_loss = _losses(model, bank, rows, rendering, generator)
        loss = captions_loss + settings.same_drawing * drawings_loss
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        optimizer.step()
        schedule.step()
        model.logit_scale.data.clamp_(0, _MOST_CERTAIN)
        report(Step(number, loss.item(), model.logit_scale.exp().item()))
    model.eval()


def embed_images(model: open_clip.CLIP, pictures: Tensor) -> Tensor:
    """Unit features [n, d] of grey pictures [n, 1, h, w] in 0..1, normalised as when loaded."""
    coloured = ((pictures - 0.5) / 0.5).expand(-1, 3, -1, -1)
    features: Tensor = model.encode_image(
        coloured.contiguous(memory_format=torch.channels_last), normalize=True
    )
    return features


def embed_texts(model: open_clip.CLIP, texts: list[str]) -> Tensor:
    """Unit features [n, d] of captions."""
    tokens = open_clip.SimpleTokenizer(context_length=model.context_length)(texts)
    features: Tensor = model.encode_text(tokens, normalize=True)
    return features


def _losses(
    model: open_clip.CLIP,
    bank: GlyphBank,
    rows: Tensor,
    rendering: Rendering,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    pictures = _two_views(bank, rows, rendering, generator)
    captions = draw_captions(generator)
    # Both views in one pass: batch normalisation should not tell them apart.
    features, again = embed_images(model, pictures).chunk(2)
    text_features = embed_texts(model, [caption.text for caption in captions])
    logits = model.logit_scale.exp() * features @ text_features.T
    true = truth(bank.characters[rows], captions)
    return contrastive_loss(logits, true), same_drawing_loss(features, again)


def _two_views(
    bank: GlyphBank, rows: Tensor, rendering: Rendering, generator: torch.Generator
) -> Tensor:
    """Pictures of the rows, then of the same drawings again through other cameras."""
    ink = draw_ink(bank, rows, rendering.distortion, generator=generator)
    return degrade(
        ink.repeat(2, 1, 1, 1),
        rendering.degradation,
        image_size=rendering.image_size,
        generator=generator,
    )


def _optimizer(model: open_clip.CLIP, settings: Settings) -> AdamW:
    decays = {
        name: parameter.ndim >= 2 and "embedding" not in name
        for name, parameter in model.named_parameters()
    }
    groups = [
        {
            "params": [p for name, p in model.named_parameters() if decays[name] == decayed],
            "weight_decay": settings.weight_decay if decayed else 0.0,
        }
        for decayed in (True, False)
    ]
    return AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))


def _warm_then_cosine(step: int, settings: Settings) -> float:
    cosine = (1 + math.cos(math.pi * step / settings.steps)) / 2
    return min((step + 1) / settings.warmup_steps, cosine)
