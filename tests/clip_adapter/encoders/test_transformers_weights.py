"""CLIP and SigLIP of Hugging Face's transformers give its features, or are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm.models._registry
import torch
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import _create_vision_transformer
from torch import Tensor

from clip_adapter.encoders import (
    Encoder,
    EncoderError,
    check_learns_prompts,
    load_encoder,
    model_config,
    parse_model_name,
)
from clip_adapter.encoders.local_models import build_local
from clip_adapter.encoders.transformers_weights import (
    clip_config,
    known_clip,
    siglip_sizes,
    to_open_clip,
)

PROMPTS = ["a", "a photo of a river"]
CLIP: dict[str, Any] = {
    "model_type": "clip",
    "projection_dim": 8,
    "text_config": {
        "hidden_size": 16,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 16,
    },
    "vision_config": {
        "hidden_size": 24,
        "intermediate_size": 50,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "image_size": 16,
        "patch_size": 8,
    },
}
SIGLIP: dict[str, Any] = {
    "model_type": "siglip",
    "text_config": {
        "hidden_size": 16,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "vocab_size": 49408,
    },
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    },
}


PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 16},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 16, "width": 16},
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def edited(config: dict[str, Any], **towers: Any) -> dict[str, Any]:
    """A configuration with other values in both towers."""
    return {
        **config,
        "text_config": {**config["text_config"], **towers},
        "vision_config": {**config["vision_config"], **towers},
    }


def make_model(config: dict[str, Any]) -> Any:
    """A model of transformers with random weights, none of them zero or one."""
    transformers = pytest.importorskip("transformers", reason="compares with transformers")
    kind = "CLIP" if config["model_type"] == "clip" else "Siglip"
    described = getattr(transformers, f"{kind}Config")(**config)
    model = getattr(transformers, f"{kind}Model")(described).eval()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            if not name.startswith("logit"):
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def save(model: Any, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), default=str))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


def save_as_torch(model: Any, folder: Path) -> Path:
    save(model, folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def assert_equal_features(encoder: Encoder, model: Any) -> None:
    height, width = encoder.geometry.size
    pixels = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    tokens = encoder.tokenizer(PROMPTS, context_length=encoder.context_length)
    with torch.inference_mode():
        expected = model(
            input_ids=tokens, pixel_values=encoder.preprocessing.normalise(torch.tensor(pixels))
        )
    for ours, theirs in (
        (encoder.encode_images(pixels), expected.image_embeds),
        (encoder.encode_prompts(PROMPTS), expected.text_embeds),
    ):
        normalised = torch.nn.functional.normalize(torch.tensor(ours))
        # Two orders of the same float32 sums; a wrong activation differs by more than 1e-3.
        torch.testing.assert_close(normalised, theirs, atol=1e-5, rtol=0)
    assert encoder.logit_scale == pytest.approx(float(model.logit_scale.detach().exp()), rel=1e-6)


@pytest.fixture(name="architectures")
def _architectures(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Architectures as open_clip has them: both forms of `CLIP` and two SigLIPs."""
    plain = {**clip_config(edited(CLIP, hidden_act="gelu")), "quick_gelu": False}
    text = {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
    }
    vision = {"image_size": 16, "timm_pool": "map", "timm_proj": "none"}
    tanh = {"act_kwargs": {"approximate": "tanh"}}
    sigmoid = {"embed_dim": 16, "init_logit_bias": -10, "custom_text": True}
    known = {
        "small": plain,
        "small-quickgelu": {**plain, "quick_gelu": True},
        "sigmoid-four-heads": {
            **sigmoid,
            "vision_cfg": {**vision, "timm_model_name": "small_vit_tanh"},
            "text_cfg": {**text, **tanh, "heads": 4},
        },
        "sigmoid-exact": {
            **sigmoid,
            "vision_cfg": {**vision, "timm_model_name": "small_vit"},
            "text_cfg": text,
        },
        "sigmoid": {
            **sigmoid,
            "vision_cfg": {**vision, "timm_model_name": "small_vit_tanh"},
            "text_cfg": {**text, **tanh},
        },
    }

    def small_vit(activation: str) -> Callable[..., Any]:
        sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}

        def build(*, pretrained: bool = False, **options: Any) -> Any:
            options = {**sizes, "class_token": False, "act_layer": activation, **options}
            return _create_vision_transformer("vit_base_patch16_siglip_224", pretrained, **options)

        return build

    entrypoints = timm.models._registry._model_entrypoints
    monkeypatch.setitem(entrypoints, "small_vit", small_vit("gelu"))
    monkeypatch.setitem(entrypoints, "small_vit_tanh", small_vit("gelu_tanh"))
    configs = {**open_clip.factory._MODEL_CONFIGS, **known}
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", configs)
    return known


@pytest.mark.parametrize("saved", [save, save_as_torch])
@pytest.mark.parametrize("hidden_act", ["quick_gelu", "gelu"])
def test_a_clip_that_open_clip_does_not_know_is_built_from_its_folder(
    saved: Callable[[Any, Path], Path], hidden_act: str, tmp_path: Path
) -> None:
    model = make_model(edited(CLIP, hidden_act=hidden_act))
    encoder = load_encoder(f"local-dir:{saved(model, tmp_path / 'clip')}")
    assert_equal_features(encoder, model)
    assert encoder.context_length == 16
    assert encoder.geometry.size == (16, 16)


def test_another_epsilon_is_computed_with(tmp_path: Path) -> None:
    model = make_model(edited(CLIP, layer_norm_eps=0.1))
    assert_equal_features(load_encoder(f"local-dir:{save(model, tmp_path / 'clip')}"), model)


@pytest.mark.usefixtures("architectures")
@pytest.mark.parametrize("saved", [save, save_as_torch])
@pytest.mark.parametrize("typed", ["small", "small-quickgelu"])
@pytest.mark.parametrize("hidden_act", ["gelu", "quick_gelu"])
def test_the_activation_function_is_that_of_the_configuration_whatever_was_typed(
    saved: Callable[[Any, Path], Path], typed: str, hidden_act: str, tmp_path: Path
) -> None:
    model = make_model(edited(CLIP, hidden_act=hidden_act))
    folder = saved(model, tmp_path / "clip")
    (weights,) = (each for each in folder.iterdir() if each.suffix != ".json")
    encoder = load_encoder(f"{typed}:{weights}")
    assert_equal_features(encoder, model)
    right = "small-quickgelu" if hidden_act == "quick_gelu" else "small"
    assert any(f"loaded as {right}" in note for note in encoder.notes) == (typed != right)


@pytest.mark.usefixtures("architectures")
def test_a_folder_a_file_and_open_clips_own_file_have_one_fingerprint(tmp_path: Path) -> None:
    folder = save(make_model(CLIP), tmp_path / "clip")
    own = to_open_clip(load_file(folder / "model.safetensors"))
    save_file({key: each.contiguous() for key, each in own.items()}, tmp_path / "own.safetensors")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    names = (
        f"local-dir:{folder}",
        f"small-quickgelu:{folder}/model.safetensors",
        f"small-quickgelu:{tmp_path}/own.safetensors",
    )
    assert len({load_encoder(name).fingerprint for name in names}) == 1


@pytest.mark.usefixtures("architectures")
@pytest.mark.parametrize("saved", [save, save_as_torch])
def test_a_siglip_is_found_by_its_sizes_and_heads(
    saved: Callable[[Any, Path], Path], tmp_path: Path
) -> None:
    model = make_model(SIGLIP)
    with torch.no_grad():
        model.logit_bias.fill_(-3)
    folder = saved(model, tmp_path / "siglip")
    (weights,) = (each for each in folder.iterdir() if each.suffix != ".json")
    encoder = load_encoder(f"sigmoid:{weights}")
    assert_equal_features(encoder, model)
    assert float(encoder.model.logit_bias) == -3
    assert not any("GELU" in note for note in encoder.notes)


@pytest.mark.usefixtures("architectures")
def test_a_folder_of_siglip_is_an_architecture_of_open_clips(tmp_path: Path) -> None:
    model = make_model(SIGLIP)
    encoder = load_encoder(f"local-dir:{save(model, tmp_path / 'siglip')}")
    assert "the weights are those of open_clip's sigmoid-exact" in encoder.notes
    assert "features differ from transformers' by about 0.001" in encoder.notes[-1]


@pytest.mark.usefixtures("architectures")
def test_a_tokenizer_in_the_folder_is_taken(tmp_path: Path) -> None:
    model = make_model(SIGLIP)
    transformers, tokenizers = (
        pytest.importorskip("transformers"),
        pytest.importorskip("tokenizers"),
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    numbers = {"[PAD]": 0, "[UNK]": 1, "river": 2}
    words = tokenizers.models.WordLevel(numbers, unk_token=special["unk_token"])
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    folder = save(model, tmp_path / "siglip")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    fast.save_pretrained(folder)
    encoder = load_encoder(f"local-dir:{folder}")
    assert encoder.tokenizer(["a river"]).tolist() == [[1, 2, *[0] * 14]]
    assert encoder.encode_prompts(["a river"]).shape == (1, 16)


@pytest.mark.usefixtures("architectures")
def test_a_siglip_with_other_heads_is_refused(tmp_path: Path) -> None:
    config = edited(SIGLIP, num_attention_heads=8)
    folder = save(make_model(config), tmp_path / "siglip")
    with pytest.raises(EncoderError, match="open_clip has no SigLIP with the sizes of the weights"):
        load_encoder(f"local-dir:{folder}")
    with pytest.raises(EncoderError, match=r'"text_heads":8.* sigmoid does not have'):
        load_encoder(f"sigmoid:{folder}/model.safetensors")


# What needs no transformers.


def test_openais_configuration_is_its_architecture() -> None:
    assert known_clip(clip_config({"model_type": "clip"})) == "ViT-B-32-quickgelu"


def test_a_width_of_bigg_is_its_architecture() -> None:
    text = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}
    vision = {"hidden_size": 1664, "intermediate_size": 8192, "num_hidden_layers": 48}
    config = {
        "projection_dim": 1280,
        "text_config": {**text, "num_attention_heads": 20, "hidden_act": "gelu"},
        # Older files hold a tower twice, and the second one counts.
        "vision_config": {"hidden_size": 1},
        "vision_config_dict": {
            **vision,
            "num_attention_heads": 16,
            "patch_size": 14,
            "hidden_act": "gelu",
        },
    }
    assert known_clip(clip_config(config)) == "ViT-bigG-14"


@pytest.mark.parametrize("width", [512, 768, 1024, 1280, 1408, 1664])
def test_the_ratio_of_a_perceptron_gives_its_width(width: int) -> None:
    for inner in range(width, 5 * width, 37):
        tower = {"hidden_size": width, "intermediate_size": inner, "num_attention_heads": 8}
        config = clip_config({"text_config": tower, "vision_config": tower})
        assert int(width * config["text_cfg"]["mlp_ratio"]) == inner


def clip_state() -> dict[str, Tensor]:
    """The first keys of a CLIP of transformers."""
    block = "text_model.encoder.layers.0.self_attn"
    parts = {f"{block}.{part}_proj.bias": torch.full((2,), n) for n, part in enumerate("kvq")}
    return {**parts, "visual_projection.weight": torch.arange(6).reshape(2, 3)}


def test_query_key_and_value_are_joined_in_this_order() -> None:
    mapped = to_open_clip(clip_state())
    assert mapped["transformer.resblocks.0.attn.in_proj_bias"].tolist() == [2, 2, 0, 0, 1, 1]
    assert mapped["visual.proj"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert len(mapped) == 2


def test_a_part_without_the_others_is_left_for_the_error_to_name() -> None:
    state = clip_state()
    del state["text_model.encoder.layers.0.self_attn.v_proj.bias"]
    left = [key for key in to_open_clip(state) if "self_attn" in key]
    assert left == [f"transformer.resblocks.0.self_attn.{part}_proj.bias" for part in "kq"]


def test_naflex_is_refused() -> None:
    state = {
        "vision_model.head.probe": torch.zeros(1, 1, 2),
        "vision_model.embeddings.patch_embedding.weight": torch.zeros(2, 12),
    }
    with pytest.raises(EncoderError, match="NaFlex"):
        to_open_clip(state)


def folder_with(config: Any, tmp_path: Path) -> Path:
    """A folder with this configuration and the weights of a CLIP of transformers, in part."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    save_file(clip_state(), tmp_path / "model.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "bert"}, "is not that of a CLIP or SigLIP"),
        ([], "is not that of a CLIP or SigLIP"),
        (edited(CLIP, hidden_act="relu"), "says hidden_act relu; expected quick_gelu or gelu"),
        (CLIP, "does not fit its config.json"),
        (SIGLIP, "open_clip has no SigLIP with the sizes"),
    ],
)
def test_what_is_no_clip_or_siglip_is_refused(config: Any, reason: str, tmp_path: Path) -> None:
    name = parse_model_name(f"local-dir:{folder_with(config, tmp_path)}")
    with pytest.raises(EncoderError) as refused:
        build_local(name, torch.device("cpu"))
    assert reason in str(refused.value)


def test_a_configuration_of_other_heads_beside_a_file_is_refused(
    architectures: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    assert "small" in architectures
    config = json.loads(json.dumps(CLIP))
    config["text_config"]["num_attention_heads"] = 2
    folder = folder_with(config, tmp_path)
    with pytest.raises(EncoderError, match=r"text_cfg.heads differ; write local-dir:"):
        load_encoder(f"small:{folder}/model.safetensors")


@pytest.mark.parametrize("name", ["vocab.json", "tokenizer.json"])
def test_another_vocabulary_than_clips_is_refused(name: str, tmp_path: Path) -> None:
    words = {word: 5 + number for word, number in open_clip.SimpleTokenizer().encoder.items()}
    content = words if name == "vocab.json" else {"model": {"vocab": words}}
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(EncoderError, match=r"is not CLIP's \(token '!' is 5, expected 0\)"):
        load_encoder(f"local-dir:{folder_with(CLIP, tmp_path)}")


def test_clips_own_vocabulary_is_taken(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps(open_clip.SimpleTokenizer().encoder))
    with pytest.raises(EncoderError, match="keys are missing"):
        load_encoder(f"local-dir:{folder_with(CLIP, tmp_path)}")


def test_weights_in_several_files_or_none_are_refused(tmp_path: Path) -> None:
    folder = folder_with(CLIP, tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"expected model.safetensors or pytorch_model.bin"):
        load_encoder(f"local-dir:{folder}")
    (folder / "model.safetensors.index.json").touch()
    with pytest.raises(EncoderError, match="spread over several files"):
        load_encoder(f"local-dir:{folder}")


def test_a_folder_of_transformers_is_a_folder(tmp_path: Path) -> None:
    assert parse_model_name(f"local-dir:{folder_with(CLIP, tmp_path)}").where == "folder"


@pytest.mark.parametrize(("name", "value"), [("hidden_act", "gelu"), ("layer_norm_eps", 1e-5)])
def test_a_siglip_of_another_activation_or_epsilon_is_refused(name: str, value: Any) -> None:
    config = json.loads(json.dumps(SIGLIP))
    config["vision_config"][name] = value
    with pytest.raises(EncoderError, match=f"{name}.*open_clip's SigLIPs have"):
        siglip_sizes(config)


def test_prompts_of_a_siglip_folder_cannot_be_learned(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SIGLIP))
    config = model_config(f"local-dir:{tmp_path}")
    with pytest.raises(EncoderError, match="cannot be entered"):
        check_learns_prompts(config, model="this one")
