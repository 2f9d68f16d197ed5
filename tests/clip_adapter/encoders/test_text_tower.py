"""The text tower, entered at its token embeddings, says what the encoder says."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from clip_adapter.encoders import Encoder, EncoderError, load_encoder, text_tower
from clip_adapter.methods import TextTower

PROMPTS = ["a photo of the digit seven.", "3", "the letter q, in bold"]


@pytest.fixture(name="glyphs", scope="module")
def _glyphs() -> Encoder:
    return load_encoder("glyphs")


def test_whole_prompts_give_the_encoders_features(glyphs: Encoder) -> None:
    tower = text_tower(glyphs)
    assert isinstance(tower, TextTower)
    with torch.no_grad():
        found = tower.encode(*tower.embed(PROMPTS)).numpy()
    # Fewer positions are computed, so float32 sums are added up in another order.
    np.testing.assert_allclose(found, glyphs.encode_prompts(PROMPTS), rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_embeddings_and_no_weight(glyphs: Encoder) -> None:
    tower = text_tower(glyphs)
    embeddings, tokens = tower.embed(PROMPTS)
    embeddings.requires_grad_()
    torch.autograd.backward(tower.encode(embeddings, tokens).sum())
    assert embeddings.grad is not None
    ends = tower.ends(tokens)
    for row, end in enumerate(ends.tolist()):
        assert (embeddings.grad[row, : end + 1].abs().sum(dim=1) > 0).all()
        assert not embeddings.grad[row, end + 1 :].any()
    assert all(weight.grad is None for weight in glyphs.model.parameters())


def with_tower(glyphs: Encoder, parts: torch.nn.Module) -> Encoder:
    """Another text tower in the same encoder."""
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    model = SimpleNamespace(text=parts)
    return replace(glyphs, name="made-up", model=model, tokenizer=tokenizer, context_length=77)


@pytest.mark.parametrize("changes", [{}, {"pool_type": "eos", "eos_id": 49407}])
@pytest.mark.parametrize("mask", [{}, {"no_causal_mask": True}])
def test_open_clips_transformers_are_entered_alike(
    glyphs: Encoder, changes: dict[str, Any], mask: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    parts = open_clip.transformer.TextTransformer(
        width=32, heads=2, layers=2, output_dim=8, **changes, **mask
    ).eval()
    tower = text_tower(with_tower(glyphs, parts))
    with torch.no_grad():
        embeddings, tokens = tower.embed(PROMPTS)
        # As above; features of a random tower are small.
        torch.testing.assert_close(
            tower.encode(embeddings, tokens), parts(tokens), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    "changes",
    [{"pool_type": "last"}, {"embed_cls": True}, {"no_causal_mask": True, "use_pad_mask": True}],
)
def test_a_tower_of_another_kind_is_refused(glyphs: Encoder, changes: dict[str, Any]) -> None:
    parts = open_clip.transformer.TextTransformer(width=32, heads=2, layers=1, **changes)
    with pytest.raises(EncoderError, match=r"learned for made-up: .*read off .*expected open_clip"):
        text_tower(with_tower(glyphs, parts))
    with pytest.raises(EncoderError, match="its text tower, a Linear"):
        text_tower(with_tower(glyphs, torch.nn.Linear(2, 2)))
