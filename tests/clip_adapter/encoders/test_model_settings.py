"""Preprocessing and activation function are those of the weights, or the user is asked for them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from clip_adapter.encoders import (
    Encoder,
    find_settings,
    load_encoder,
    model_settings,
    parse_model_name,
)
from clip_adapter.encoders.published import digest_file
from clip_adapter.errors import EncoderError, UnknownNameError

TINY_CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
ChangeConfig = Callable[[Path, Callable[[dict[str, Any]], object]], None]
TAGS = open_clip.list_pretrained()
AMBIGUOUS = {"ViT-L-14": 12, "ViT-H-14": 4, "ViT-H-14-quickgelu": 2}
"""Architectures whose tags differ in their preprocessing, with the number of their tags."""
WITHOUT_TAGS = sorted(set(open_clip.list_models()) - {architecture for architecture, _ in TAGS})
OPENAI_B_32 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
CLIP_PROCESSOR = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}
OLD_CLIP_PROCESSOR = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 224,
}
SIGLIP_PROCESSOR = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "size": {"height": 224, "width": 224},
}


@pytest.fixture(name="weights")
def _weights(tmp_path: Path) -> Path:
    """A file of weights that was never published."""
    path = tmp_path / "weights.safetensors"
    path.touch()
    return path


def of_tag(architecture: str, tag: str) -> dict[str, Any]:
    """What open_clip uses for a tag, without the size, which is the architecture's."""
    config = open_clip.get_pretrained_cfg(architecture, tag)
    merged: dict[str, Any] = open_clip.transform.merge_preprocess_dict(
        open_clip.transform.PreprocessCfg(), config
    )
    return {name: merged[name] for name in ("mean", "std", "interpolation", "resize_mode")}


def found_for(name: str, **choice: Any) -> dict[str, Any]:
    found = find_settings(parse_model_name(name), **choice).preprocessing
    return {name: value for name, value in found.items() if name != "fill_color"}


def notes_for(name: str, **choice: Any) -> tuple[str, ...]:
    return find_settings(parse_model_name(name), **choice).notes


# All that open_clip lists.


def test_each_of_the_196_tags_has_its_own_preprocessing_and_says_nothing() -> None:
    assert len(TAGS) == 196
    for architecture, tag in TAGS:
        settings = find_settings(parse_model_name(f"{architecture}:{tag}"))
        assert settings.preprocessing == of_tag(architecture, tag)
        assert settings.notes == ()


def test_a_checkpoint_has_the_preprocessing_that_all_tags_share(weights: Path) -> None:
    shared = [each for each in TAGS if each[0] not in AMBIGUOUS]
    assert len(shared) == 196 - 18
    for architecture in {architecture for architecture, _ in shared}:
        model = f"{architecture}:{weights}"
        expected = [of_tag(*each) for each in shared if each[0] == architecture]
        assert [found_for(model)] * len(expected) == expected
        assert f"preprocessing: that of all tags of {architecture} in open_clip" in notes_for(model)


@pytest.mark.parametrize("architecture", AMBIGUOUS)
def test_where_the_tags_differ_the_choices_are_listed_with_their_difference(
    weights: Path, architecture: str
) -> None:
    with pytest.raises(EncoderError) as refused:
        find_settings(parse_model_name(f"{architecture}:{weights}"))
    lines = str(refused.value).splitlines()
    assert "--preprocessing TAG" in lines[0]
    tags = [tag for line in lines[1:] for tag in line.split(":")[0].strip().split(", ")]
    assert sorted(tags) == sorted(open_clip.list_pretrained_tags_by_model(architecture))
    assert len(tags) == AMBIGUOUS[architecture]
    differs = "mean" if architecture == "ViT-L-14" else "resize_mode squash"
    assert differs in str(refused.value)
    assert "interpolation" not in str(refused.value)  # all have the same
    for tag in tags:
        asked = find_settings(parse_model_name(f"{architecture}:{weights}"), preprocessing=tag)
        assert asked.preprocessing == of_tag(architecture, tag)
        assert asked.notes[-1] == f"preprocessing: that of {architecture}:{tag}, as asked for"


@pytest.mark.parametrize("architecture", WITHOUT_TAGS)
def test_an_architecture_without_tags_is_given_one_choice_of_every_kind(
    weights: Path, architecture: str
) -> None:
    with pytest.raises(EncoderError, match="no tag of this architecture") as refused:
        find_settings(parse_model_name(f"{architecture}:{weights}"))
    listed = [line.strip().split(": ")[0] for line in str(refused.value).splitlines()[1:]]
    kinds = {json.dumps(of_tag(*each)) for each in TAGS}
    assert len(WITHOUT_TAGS) == 29
    assert len(listed) == len(kinds) == 8
    assert {json.dumps(of_tag(*name.split(":"))) for name in listed} == kinds
    chosen = found_for(f"{architecture}:{weights}", preprocessing=listed[-1])
    assert chosen == of_tag(*listed[-1].split(":"))


def test_a_tag_that_does_not_exist_is_refused_with_the_nearest(weights: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'laion2b_s32b_b82k'"):
        find_settings(parse_model_name(f"ViT-L-14:{weights}"), preprocessing="laion2b_s32b_b82")
    with pytest.raises(UnknownNameError, match="did you mean 'PE-Core-B-16:meta'"):
        find_settings(parse_model_name(f"ViT-L-14:{weights}"), preprocessing="PE-Core-B16:meta")


# A configuration beside the weights.


@pytest.mark.parametrize(
    ("architecture", "config", "equal"),
    [
        ("ViT-L-14", CLIP_PROCESSOR, "ViT-L-14:openai"),
        ("ViT-L-14", OLD_CLIP_PROCESSOR, "ViT-L-14:openai"),
        ("ViT-B-32", SIGLIP_PROCESSOR, "ViT-B-16-SigLIP:webli"),
        ("ViT-B-32", {**SIGLIP_PROCESSOR, "resample": 2}, "PE-Core-B-16:meta"),
        (
            "ViT-B-32",
            {**CLIP_PROCESSOR, "resample": 2, "do_normalize": False, "image_mean": None},
            "MobileCLIP-B:datacompdr",
        ),
    ],
)
@pytest.mark.parametrize("file", ["preprocessor_config.json", "processor_config.json"])
def test_the_file_of_transformers_beside_the_weights_decides(
    weights: Path, architecture: str, config: dict[str, Any], equal: str, *, file: str
) -> None:
    nested = {"image_processor": config} if file == "processor_config.json" else config
    (weights.parent / file).write_text(json.dumps(nested))
    assert found_for(f"{architecture}:{weights}") == of_tag(*equal.split(":"))
    (note,) = [each for each in notes_for(f"{architecture}:{weights}") if "preprocessing" in each]
    assert note == f"preprocessing: that of {file} beside the weights"


@pytest.mark.parametrize(
    ("processor", "architecture", "equal"),
    [
        ("CLIPImageProcessor", "ViT-L-14", "ViT-L-14:openai"),
        ("SiglipImageProcessor", "ViT-B-32", "ViT-B-16-SigLIP:webli"),
    ],
)
def test_what_transformers_saves_is_understood(
    weights: Path, processor: str, architecture: str, equal: str
) -> None:
    transformers = pytest.importorskip("transformers", reason="it writes the files to read")
    getattr(transformers, processor)().save_pretrained(weights.parent)
    assert found_for(f"{architecture}:{weights}") == of_tag(*equal.split(":"))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"size": {"shortest_edge": 256}}, "shortest_edge"),
        ({"size": {"shortest_edge": 224, "longest_edge": 448}}, "longest_edge"),
        ({"size": {"longest_edge": 224}}, "longest_edge"),
        ({"size": None}, "size is None"),
        ({"do_center_crop": False}, "crop_size"),
        ({"size": {"height": 336, "width": 336}, "do_center_crop": False}, "(336, 336) pixels"),
        ({"do_resize": False}, "do_resize is False"),
        ({"do_rescale": False}, "do_rescale is False"),
        ({"rescale_factor": 1.0}, "rescale_factor is 1.0"),
        ({"resample": 1}, "resample is 1"),
        ({"resample": None}, "resample is None"),
        ({"do_pad": True}, "do_pad is True"),
        ({"image_mean": [0.5, 0.5]}, "image_mean is [0.5, 0.5]"),
    ],
)
def test_what_cannot_be_represented_is_refused_in_one_line(
    weights: Path, change: dict[str, Any], found: str
) -> None:
    path = weights.parent / "preprocessor_config.json"
    path.write_text(json.dumps({**CLIP_PROCESSOR, **change}))
    with pytest.raises(EncoderError) as refused:
        find_settings(parse_model_name(f"ViT-B-32:{weights}"))
    message = str(refused.value)
    assert message.startswith(f"{path} describes a preprocessing that cannot be used: ")
    assert found in message
    assert "\n" not in message
    # What the user says needs no file.
    assert found_for(f"ViT-B-32:{weights}", preprocessing="openai") == of_tag("ViT-B-32", "openai")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("preprocessor_config.json", "{"),
        ("preprocessor_config.json", "[]"),
        ("preprocessor_config.json", '{"size": [], "resample": []}'),
        ("preprocessor_config.json", json.dumps({**CLIP_PROCESSOR, "rescale_factor": "x"})),
        ("preprocessor_config.json", json.dumps({**CLIP_PROCESSOR, "resample": []})),
        ("processor_config.json", '{"image_processor": 7}'),
        ("open_clip_config.json", '{"preprocess_cfg": [1]}'),
        ("open_clip_config.json", '{"preprocess_cfg": {"mean": "grey"}}'),
        ("open_clip_config.json", '{"preprocess_cfg": {"mode": "L"}}'),
        ("open_clip_config.json", '{"model_cfg": 7}'),
        ("config.json", '{"model_type": "clip", "text_config": 7}'),
        ("config.json", '{"model_type": "clip", "text_config": {"hidden_act": "silu"}}'),
    ],
)
def test_a_malformed_configuration_is_an_error_and_no_crash(
    weights: Path, file: str, content: str
) -> None:
    (weights.parent / file).write_text(content)
    if file == "config.json":  # read beside the file that transformers names so
        weights = weights.rename(weights.parent / "model.safetensors")
    with pytest.raises(EncoderError):
        find_settings(parse_model_name(f"ViT-B-32:{weights}"))


def test_open_clips_own_configuration_comes_before_that_of_transformers(weights: Path) -> None:
    config = {
        "model_cfg": open_clip.get_model_config("ViT-L-14"),
        "preprocess_cfg": {"mean": 0, "std": [1, 1, 1], "interpolation": "bilinear"},
    }
    (weights.parent / "open_clip_config.json").write_text(json.dumps(config))
    (weights.parent / "preprocessor_config.json").write_text(json.dumps(CLIP_PROCESSOR))
    assert found_for(f"ViT-L-14:{weights}") == of_tag("MobileCLIP-B", "datacompdr")
    assert "preprocessing: that of open_clip_config.json beside the weights" in notes_for(
        f"ViT-L-14:{weights}"
    )


def test_a_configuration_of_another_model_beside_the_weights_is_refused(weights: Path) -> None:
    config = {"model_cfg": open_clip.get_model_config("ViT-L-14-336")}
    (weights.parent / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(
        EncoderError, match=r"of another model than ViT-L-14: vision_cfg.image_size"
    ):
        find_settings(parse_model_name(f"ViT-L-14:{weights}"))


# Models that have their own preprocessing, and those that should.


@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu:openai", "glyphs"])
def test_a_model_with_its_own_preprocessing_takes_no_other(name: str) -> None:
    with pytest.raises(EncoderError, match="has its own preprocessing, so --preprocessing openai"):
        load_settings(name, preprocessing="openai")


def load_settings(name: str, **choice: Any) -> Any:
    return find_settings(parse_model_name(name), **choice)


def test_a_folder_without_preprocessing_has_that_of_the_equal_architecture(
    tiny_folder: Path, change_config: ChangeConfig
) -> None:
    def as_pe_core(config: dict[str, Any]) -> None:
        config["model_cfg"] = open_clip.get_model_config("PE-Core-T-16-384")
        del config["preprocess_cfg"]

    change_config(tiny_folder, as_pe_core)
    settings = load_settings(f"local-dir:{tiny_folder}")
    assert settings.preprocessing == of_tag("PE-Core-T-16-384", "meta")
    assert settings.notes == ("preprocessing: that of all tags of PE-Core-T-16-384 in open_clip",)


def test_a_folder_without_preprocessing_of_an_unknown_architecture_needs_a_choice(
    tiny_folder: Path, change_config: ChangeConfig
) -> None:
    change_config(tiny_folder, lambda config: config.pop("preprocess_cfg"))
    name = f"local-dir:{tiny_folder}"
    with pytest.raises(EncoderError, match="--preprocessing TAG"):
        load_encoder(name)
    encoder = load_encoder(name, preprocessing="PE-Core-B-16:meta")
    assert encoder.preprocessing.mean == (0.5, 0.5, 0.5)
    assert encoder.geometry.resize_mode == "squash"
    assert encoder.geometry.size == (16, 16)  # the architecture's
    (tiny_folder / "preprocessor_config.json").write_text(
        json.dumps({**SIGLIP_PROCESSOR, "size": {"height": 16, "width": 16}})
    )
    assert load_encoder(name).geometry.interpolation == "bicubic"


def test_a_folder_of_transformers_has_the_preprocessing_of_its_processor(
    tiny_folder: Path,
) -> None:
    model = parse_model_name(f"local-dir:{tiny_folder}")
    (tiny_folder / "open_clip_config.json").unlink()
    config = {"model_type": "siglip", "vision_config": {"image_size": 384}}
    (tiny_folder / "config.json").write_text(json.dumps(config))
    default = find_settings(model)
    assert default.preprocessing == of_tag("ViT-B-16-SigLIP", "webli")
    assert "transformers' default for siglip" in default.notes[0]
    chosen = find_settings(model, preprocessing="PE-Core-B-16:meta")
    assert chosen.preprocessing == of_tag("PE-Core-B-16", "meta")
    processor = {
        **SIGLIP_PROCESSOR,
        "size": {"height": 384, "width": 384},
        "image_mean": [0.25] * 3,
    }
    (tiny_folder / "preprocessor_config.json").write_text(json.dumps(processor))
    assert find_settings(model).preprocessing["mean"] == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_default_of_a_type_is_that_of_transformers(kind: str) -> None:
    transformers = pytest.importorskip("transformers", reason="compares with transformers")
    processor = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}[kind]
    described = getattr(transformers, processor)().to_dict()
    architecture, tag = model_settings._DEFAULTS_OF_TYPES[kind]
    size = (224, 224)
    found = model_settings._from_transformers(described, Path("a file"), size=size)
    expected = of_tag(architecture, tag)
    assert {name: expected[name] for name in found} == found


def test_a_folder_of_another_type_is_refused(tiny_folder: Path) -> None:
    model = parse_model_name(f"local-dir:{tiny_folder}")
    (tiny_folder / "open_clip_config.json").unlink()
    (tiny_folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(EncoderError, match="is not that of a CLIP or SigLIP"):
        find_settings(model)


def test_a_repository_without_preprocessing_needs_a_choice(
    tiny_folder: Path,
    change_config: ChangeConfig,
    no_cache: Path,
) -> None:
    change_config(tiny_folder, lambda config: config.pop("preprocess_cfg"))
    repository = no_cache / "hub" / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("1234")
    (repository / "snapshots").mkdir()
    tiny_folder.rename(repository / "snapshots" / "1234")
    with pytest.raises(EncoderError, match="--preprocessing TAG"):
        load_encoder("hf-hub:org/tiny")
    chosen = load_encoder("hf-hub:org/tiny", preprocessing="PE-Core-B-16:meta")
    assert chosen.geometry.resize_mode == "squash"


def test_the_built_in_encoder_stays_what_it_was() -> None:
    """Its features are in many stores; another fingerprint would encode all of them again."""
    encoder = load_encoder("glyphs")
    assert encoder.fingerprint == "cd70e65be7bbd2377d63b112fe4527faa8ee85ed0d7a288f7da0d09d6dca5ba2"
    assert encoder.notes == ()


# The activation function.


@pytest.mark.parametrize("typed", ["ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-16"])
def test_a_published_file_is_loaded_under_its_name_whatever_was_typed(
    weights: Path, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_settings, "digest_file", lambda _: OPENAI_B_32)
    settings = load_settings(f"{typed}:{weights}")
    assert settings.model.architecture == "ViT-B-32-quickgelu"
    assert settings.preprocessing == of_tag("ViT-B-32", "openai")
    said = [note for note in settings.notes if "loaded as ViT-B-32-quickgelu" in note]
    assert len(said) == (typed != "ViT-B-32-quickgelu")
    assert "whose published file this is" in settings.notes[-1]


def test_a_published_file_of_an_ambiguous_architecture_needs_no_choice(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = open_clip.get_pretrained_url("ViT-L-14", "openai").split("/")[-2]
    monkeypatch.setattr(model_settings, "digest_file", lambda _: digest)
    assert found_for(f"ViT-L-14:{weights}") == of_tag("ViT-L-14", "openai")


def test_a_published_file_makes_the_features_of_its_own_name(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_folder / "open_clip_model.safetensors"
    (tiny_folder / "open_clip_config.json").unlink()
    configs = dict(open_clip.factory._MODEL_CONFIGS)
    for name, quick in (("tiny", False), ("tiny-quickgelu", True)):
        configs[name] = {**TINY_CLIP, "quick_gelu": quick}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {})
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", configs)
    with pytest.raises(EncoderError, match="no tag of this architecture"):
        load_encoder(f"tiny:{path}")
    gelu = load_encoder(f"tiny:{path}", preprocessing="ViT-B-32:openai")
    url = f"https://openaipublic.azureedge.net/clip/models/{digest_file(path)}/tiny.pt"
    tags = {"openai": open_clip.pretrained._pcfg(url=url, quick_gelu=True)}
    for name in ("tiny", "tiny-quickgelu"):
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, tags)
    one, other = (load_encoder(f"{each}:{path}") for each in ("tiny", "tiny-quickgelu"))
    assert one.fingerprint == other.fingerprint != gelu.fingerprint
    assert "loaded as tiny-quickgelu, not tiny" in one.notes[0]
    assert (one.encode_prompts(["a"]) != gelu.encode_prompts(["a"])).any()


@pytest.mark.parametrize(
    ("typed", "assumed", "other"),
    [("ViT-B-32", "GELU", "ViT-B-32-quickgelu"), ("ViT-B-32-quickgelu", "QuickGELU", "ViT-B-32")],
)
def test_for_another_file_the_assumed_function_is_said_and_how_to_say_the_other(
    weights: Path, typed: str, assumed: str, other: str
) -> None:
    note, _ = notes_for(f"{typed}:{weights}")
    assert note.startswith(f"activation function: {assumed} is assumed, as {typed} says")
    assert note.endswith(f"write {other}:{weights}")


def test_an_architecture_of_one_form_is_loaded_without_a_word_about_it(weights: Path) -> None:
    assert [note for note in notes_for(f"PE-Core-B-16:{weights}") if "activation" in note] == []


@pytest.mark.parametrize("typed", ["ViT-B-32", "ViT-B-32-quickgelu"])
@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("file", ["open_clip_config.json", "config.json"])
def test_a_configuration_beside_the_file_decides_on_the_function(
    weights: Path, typed: str, *, quick: bool, file: str
) -> None:
    name = "ViT-B-32-quickgelu" if quick else "ViT-B-32"
    config = {"model_cfg": open_clip.get_model_config(name)}
    if file == "config.json":
        tower = {} if quick else {"hidden_act": "gelu"}  # transformers may leave its default out
        config = {"model_type": "clip", "text_config": tower, "vision_config": tower}
        weights = weights.rename(weights.parent / "model.safetensors")
    (weights.parent / file).write_text(json.dumps(config))
    settings = load_settings(f"{typed}:{weights}")
    assert settings.model.architecture == name
    said = [note for note in settings.notes if f"{file} beside the file says" in note]
    assert len(said) == (typed != name)


def test_a_function_that_open_clip_has_no_architecture_for_is_refused(weights: Path) -> None:
    config = {"model_cfg": {**open_clip.get_model_config("ViT-B-32-256"), "quick_gelu": True}}
    (weights.parent / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match="local-dir:FOLDER"):
        load_settings(f"ViT-B-32-256:{weights}")


# Through the real code, with random weights.


def small(architecture: str) -> dict[str, Any]:
    """The configuration of an architecture, with smaller towers where their size can be chosen."""
    config: dict[str, Any] = open_clip.get_model_config(architecture)
    config["text_cfg"] |= {"layers": 1, "width": 64, "heads": 1, "vocab_size": 8}
    if architecture == "RN50-quickgelu":
        config["vision_cfg"] |= {"layers": [1, 1, 1, 1], "width": 8}
    elif "timm_model_name" not in config["vision_cfg"]:
        config["vision_cfg"] |= {"layers": 1, "width": 64, "head_width": 32}
    return config


@pytest.fixture(name="both")
def _both(no_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Load one set of random weights by an architecture's tag, and as a file."""

    def load(model: str) -> tuple[Encoder, Encoder]:
        architecture, tag = model.split(":")
        configs = {**open_clip.factory._MODEL_CONFIGS, architecture: small(architecture)}
        monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", configs)
        # A tokenizer from the hub makes no difference to pixels, nor does what it needs.
        monkeypatch.setattr("clip_adapter.encoders.loading.check_available", lambda _: False)
        monkeypatch.setattr(open_clip, "get_tokenizer", lambda _: open_clip.SimpleTokenizer())
        path = tmp_path / f"{architecture}.safetensors"
        torch.manual_seed(0)
        state = open_clip.create_model(architecture).state_dict()
        save_file({name: value.contiguous() for name, value in state.items()}, path)
        downloaded = no_cache / ".cache" / "clip" / path.name
        downloaded.parent.mkdir(parents=True)
        downloaded.symlink_to(path)
        config = open_clip.get_pretrained_cfg(architecture, tag)
        elsewhere = {**config, "hf_hub": "", "url": f"http://127.0.0.1/{path.name}"}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED[architecture], tag, elsewhere)
        return load_encoder(model), load_encoder(f"{architecture}:{path}")

    return load


@pytest.mark.parametrize(
    "model",
    [
        "PE-Core-T-16-384:meta",
        "MobileCLIP2-S0:dfndr2b",
        "ViT-H-14-378-quickgelu:dfn5b",
        "RN50-quickgelu:cc12m",
        "ViT-L-14-CLIPA:datacomp1b",
        pytest.param("ViT-B-16-SigLIP:webli", marks=pytest.mark.slow),  # 90 million weights
    ],
)
def test_equal_weights_are_one_encoder_by_tag_and_as_a_file(
    both: Callable[[str], tuple[Encoder, Encoder]], model: str
) -> None:
    by_tag, by_file = both(model)
    assert by_file.fingerprint == by_tag.fingerprint
    picture = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (300, 450, 3), dtype=np.uint8)
    )
    pixels, expected = (
        each.preprocessing.normalise(
            torch.from_numpy(each.geometry.pixels(picture, image_sha256=bytes(32)))[None]
        )
        for each in (by_file, by_tag)
    )
    assert torch.equal(pixels, expected)
    # And they are what open_clip's own transform of this tag makes.
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(
            **{**of_tag(*model.split(":")), "size": by_tag.geometry.size}
        ),
        is_train=False,
    )
    assert torch.equal(pixels[0], transform(picture))


def test_a_configuration_of_other_heads_beside_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not looked at")
    config = open_clip.get_model_config("ViT-B-32")
    config["text_cfg"]["heads"] = 16
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(EncoderError, match=r"text_cfg.heads differ. Name its architecture"):
        load_settings(f"ViT-B-32:{path}")


def test_a_configuration_of_transformers_is_about_the_file_of_transformers_name(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    for name, architecture in (
        ("RemoteCLIP.pt", "ViT-B-32"),
        ("model.safetensors", "ViT-B-32-quickgelu"),
    ):
        (tmp_path / name).write_bytes(b"not looked at")
        assert load_settings(f"ViT-B-32:{tmp_path / name}").model.architecture == architecture


@pytest.mark.parametrize(
    ("name", "value"),
    [("image_mean", None), ("image_mean", [1e400] * 3), ("image_std", 0), ("image_std", [1, 2])],
)
def test_a_processor_whose_numbers_are_none_is_refused(
    name: str, value: Any, tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not looked at")
    processor = {**SIGLIP_PROCESSOR, "size": {"height": 224, "width": 224}, name: value}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(EncoderError, match=f"{name[6:]}|{name} is .*; expected three numbers"):
        load_settings(f"ViT-B-32:{path}")


def test_a_configuration_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not looked at")
    (tmp_path / "open_clip_config.json").write_text("[" * 100_000)
    with pytest.raises(EncoderError, match="malformed"):
        load_settings(f"ViT-B-32:{path}")
