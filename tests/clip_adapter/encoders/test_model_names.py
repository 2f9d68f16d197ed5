"""How a model is spelled, and what is said about a wrong spelling."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.encoders import BUILT_IN, EncoderError, ModelName, parse_model_name
from clip_adapter.errors import UnknownNameError


def test_a_local_folder_is_itself_the_architecture(tiny_folder: Path) -> None:
    name = f"local-dir:{tiny_folder}"
    assert parse_model_name(name) == ModelName(
        name=name, architecture=name, pretrained=None, where="folder"
    )


def test_a_local_folder_may_lie_at_home(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tiny_folder.parent))
    found = parse_model_name(f"local-dir:~/{tiny_folder.name}")
    assert found.architecture == f"local-dir:{tiny_folder}"


def test_an_architecture_and_a_tag_are_told_apart() -> None:
    assert parse_model_name("ViT-B-32:openai") == ModelName(
        name="ViT-B-32:openai", architecture="ViT-B-32", pretrained="openai", where="tag"
    )


def test_a_path_in_place_of_a_tag_is_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "epoch:10.pt"  # colons belong to paths as well
    path.touch()
    assert parse_model_name(f"RN50:{path}") == ModelName(
        name=f"RN50:{path}", architecture="RN50", pretrained=str(path), where="checkpoint"
    )


def test_a_repository_of_the_hub_is_taken_as_it_is() -> None:
    name = "hf-hub:laion/CLIP-ViT-B-32"
    assert parse_model_name(name) == ModelName(
        name=name, architecture=name, pretrained=None, where="hub"
    )


@pytest.mark.parametrize("name", ["hf-hub:", "hf-hub:laion", "hf-hub:/x", "hf-hub:a/b/c"])
def test_a_repository_has_an_organisation_and_a_name(name: str) -> None:
    with pytest.raises(EncoderError, match="expected hf-hub:ORGANISATION/REPOSITORY"):
        parse_model_name(name)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("ViT-B32:openai", "ViT-B-32"), ("vit-b-16", "ViT-B-16"), ("glyph", "glyphs")],
)
def test_an_unknown_architecture_names_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UnknownNameError) as refusal:
        parse_model_name(typed)
    assert str(refusal.value).startswith("unknown model ")
    assert meant in refusal.value.close


def test_an_unknown_tag_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown weights of ViT-B-32 'opnai': .*'openai'"):
        parse_model_name("ViT-B-32:opnai")


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-32:"])
def test_an_architecture_without_weights_lists_its_tags(name: str) -> None:
    with pytest.raises(EncoderError, match=r"names no weights: write for example .*; tags: openai"):
        parse_model_name(name)


def test_an_architecture_without_tags_asks_for_a_path(
    register: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(tag="none", url="")
    monkeypatch.setattr("open_clip.list_pretrained_tags_by_model", lambda _: [])
    with pytest.raises(EncoderError, match=r"write for example 'tiny:PATH.safetensors'$"):
        parse_model_name("tiny")


@pytest.mark.parametrize("path", ["missing.safetensors", "./missing", "/no/such/checkpoint"])
def test_a_checkpoint_that_is_not_there_is_missed(path: str) -> None:
    with pytest.raises(EncoderError, match="there is no checkpoint at "):
        parse_model_name(f"RN50:{path}")


def test_a_folder_without_a_configuration_is_missed(tiny_folder: Path) -> None:
    (tiny_folder / "open_clip_config.json").unlink()
    with pytest.raises(EncoderError, match=r"no open_clip_config.json in .* expected"):
        parse_model_name(f"local-dir:{tiny_folder}")


def test_a_folder_without_weights_is_missed(tiny_folder: Path) -> None:
    (tiny_folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"no .safetensors file of weights in "):
        parse_model_name(f"local-dir:{tiny_folder}")


def test_a_folder_of_pickled_weights_only_is_not_opened(tiny_folder: Path) -> None:
    weights = tiny_folder / "open_clip_model.safetensors"
    weights.rename(tiny_folder / "open_clip_pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"no .safetensors file"):
        parse_model_name(f"local-dir:{tiny_folder}")


def test_the_built_in_model_takes_no_tag() -> None:
    with pytest.raises(EncoderError, match="the built-in model has one set of weights: 'glyphs'"):
        parse_model_name(f"{BUILT_IN}:openai")
