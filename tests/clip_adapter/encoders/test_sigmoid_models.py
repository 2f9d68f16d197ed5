"""Models that were trained with a sigmoid: their bias, and the lower-case prompts of SigLIP 2."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from clip_adapter.encoders import load_encoder

ChangeConfig = Callable[[Path, Callable[[dict[str, Any]], object]], None]
WEIGHTS = "open_clip_model.safetensors"
SIGLIP2 = [name for name in open_clip.list_models() if "SigLIP2" in name]
LOWER, MIXED = "a photo of cat", "A Photo of CAT."


def test_the_bias_of_a_sigmoid_model_is_read(tiny_sigmoid_model: str) -> None:
    assert load_encoder(tiny_sigmoid_model).logit_bias == -10.0
    assert load_encoder(tiny_sigmoid_model, precision="bf16").logit_bias == -10.0


def test_a_clip_has_no_bias(tiny_model: str) -> None:
    assert load_encoder(tiny_model).logit_bias is None


def test_the_bias_is_no_field_of_the_identity(tiny_sigmoid_model: str) -> None:
    # That of another bias differs by its weights, as it always did.
    assert "logit_bias" not in load_encoder(tiny_sigmoid_model).identity.fields()


def test_open_clip_lower_cases_the_prompts_of_every_siglip_2() -> None:
    assert len(SIGLIP2) >= 15
    for name in SIGLIP2:
        text = open_clip.get_model_config(name)["text_cfg"]
        assert text["tokenizer_kwargs"] == {"clean": "canonicalize"}
        assert text["vocab_size"] == 256_000


@pytest.fixture(name="save_siglip2")
def _save_siglip2(
    tiny_sigmoid_model: str, change_config: ChangeConfig, tmp_path: Path
) -> Callable[..., str]:
    """Make a random SigLIP 2 with a small tokenizer that, as Gemma's, tells capitals apart."""
    tokenizers = pytest.importorskip("tokenizers", reason="the tokenizer is one of Hugging Face")
    transformers = pytest.importorskip("transformers", reason="open_clip reads it by transformers")
    letters = sorted(set(LOWER + MIXED))
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    words = {word: number for number, word in enumerate([*special.values(), *letters])}
    unknown = {"unk_token": special["unk_token"]}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=words, merges=[], **unknown))
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, **special)

    def save(name: str, *, clean: str | None = None, vocab_size: int = 256_000) -> str:
        original = tiny_sigmoid_model.removeprefix("local-dir:")
        folder = Path(shutil.copytree(original, tmp_path / name))
        tokenizer.save_pretrained(folder)
        text = {"vocab_size": vocab_size, "hf_tokenizer_name": "any", "context_length": 16}
        text |= {"tokenizer_kwargs": {"clean": clean}} if clean else {}
        change_config(folder, lambda config: config["model_cfg"]["text_cfg"].update(text))
        weights = load_file(folder / WEIGHTS)
        rows = torch.randn(vocab_size, 8, generator=torch.Generator().manual_seed(0))
        save_file(weights | {"text.token_embedding.weight": rows}, folder / WEIGHTS)
        return f"local-dir:{folder}"

    return save


def differ(model: str) -> bool:
    """Whether the model tells a prompt from the same without capitals and punctuation."""
    lower, mixed = load_encoder(model).encode_prompts([LOWER, MIXED])
    return bool((lower != mixed).any())


def test_prompts_of_siglip_2_are_lower_cased_where_its_folder_does_not_say_so(
    save_siglip2: Callable[..., str],
) -> None:
    silent, told = save_siglip2("silent"), save_siglip2("told", clean="canonicalize")
    assert not differ(silent)
    one, other = load_encoder(silent), load_encoder(told)
    assert (one.encode_prompts([MIXED]) == other.encode_prompts([MIXED])).all()
    assert one.identity.tokenizer == other.identity.tokenizer


def test_a_folder_that_says_how_its_text_is_cleaned_is_obeyed(
    save_siglip2: Callable[..., str],
) -> None:
    kept = save_siglip2("kept", clean="whitespace")
    assert differ(kept)
    lower_cased = load_encoder(save_siglip2("silent")).identity
    assert load_encoder(kept).identity.tokenizer != lower_cased.tokenizer


def test_other_sigmoid_models_keep_their_capitals(save_siglip2: Callable[..., str]) -> None:
    assert differ(save_siglip2("another vocabulary", vocab_size=250_000))
