"""From a name to frozen towers, or one line that says why not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from clip_adapter.encoders import EncoderError, load_encoder

ChangeConfig = Callable[[Path, Callable[[dict[str, Any]], object]], None]
Register = Callable[..., None]
WEIGHTS = "open_clip_model.safetensors"


class RunsWhenUnpickled:
    """What a hostile checkpoint holds."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def refusal(name: str) -> str:
    with pytest.raises(EncoderError) as refused:
        load_encoder(name)
    message = str(refused.value)
    assert message.startswith(f"model {name!r} could not be loaded: ")
    assert all(len(line) <= 200 for line in message.splitlines()[1:])
    return message


def test_the_towers_are_frozen(tiny_model: str) -> None:
    encoder = load_encoder(tiny_model)
    assert not encoder.model.training
    assert not any(weight.requires_grad for weight in encoder.model.parameters())


def test_the_scale_is_exponentiated_and_the_context_is_the_models(tiny_model: str) -> None:
    encoder = load_encoder(tiny_model)
    assert encoder.logit_scale == pytest.approx(1 / 0.07, rel=1e-6)  # where CLIP's training starts
    assert encoder.context_length == 16


def test_loading_is_repeatable(tiny_model: str) -> None:
    first, second = load_encoder(tiny_model), load_encoder(tiny_model)
    assert (first.encode_prompts(["a"]) == second.encode_prompts(["a"])).all()


def test_other_weights_make_other_features(tiny_model: str, other_tiny_model: str) -> None:
    one, other = load_encoder(tiny_model), load_encoder(other_tiny_model)
    assert one.fingerprint != other.fingerprint
    assert (one.encode_prompts(["a"]) != other.encode_prompts(["a"])).any()


@pytest.mark.usefixtures("no_cache")
def test_a_tag_is_downloaded_when_there_is_a_network(
    tiny_model: str, register: Register, weights_host: str
) -> None:
    register(tag="away", url=f"{weights_host}/{WEIGHTS}")
    found, expected = load_encoder("tiny:away").identity, load_encoder(tiny_model).identity
    assert found.weights_sha256 == expected.weights_sha256
    assert found.model_config == expected.model_config


@pytest.mark.usefixtures("no_cache")
def test_the_wrong_activation_function_is_an_error_that_names_the_right_model(
    register: Register, weights_host: str
) -> None:
    register(tag="away", url=f"{weights_host}/{WEIGHTS}", quick_gelu=True)
    message = refusal("tiny:away")
    assert "QuickGELU mismatch" in message
    assert message.endswith("use tiny-quickgelu:away")


@pytest.mark.usefixtures("no_cache")
def test_a_tag_that_does_not_mention_the_function_of_its_architecture_is_loaded(
    tiny_folder: Path, register: Register, weights_host: str, change_config: ChangeConfig
) -> None:
    """As open_clip's roberta-ViT-B-32, of which there is no other form."""
    change_config(tiny_folder, lambda config: config["model_cfg"].update(quick_gelu=True))
    register(tag="away", url=f"{weights_host}/{WEIGHTS}")
    loaded = load_encoder("tiny:away")
    assert '"quick_gelu":true' in loaded.identity.model_config


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_local_checkpoint_is_loaded(
    tiny_model: str, tiny_folder: Path, register: Register, suffix: str
) -> None:
    register(tag="none", url="")
    path = tiny_folder / WEIGHTS
    if suffix == ".pt":
        path = tiny_folder / "checkpoint.pt"
        torch.save({"state_dict": load_file(tiny_folder / WEIGHTS)}, path)
    found = load_encoder(f"tiny:{path}").identity
    assert found.weights_sha256 == load_encoder(tiny_model).identity.weights_sha256


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            lambda config: config["model_cfg"]["vision_cfg"].update(width=32),
            "as 'visual.class_embedding': 16 float32, expected 32 float32",
        ),
        (lambda config: config["model_cfg"]["vision_cfg"].update(layers=2), "are missing, as"),
        (lambda config: config.pop("model_cfg"), "missing 'model_cfg'"),
        (lambda config: config["model_cfg"].pop("text_cfg"), "KeyError 'text_cfg'"),
        (lambda config: config["model_cfg"]["text_cfg"].update(colour=1), "'colour'"),
        (
            lambda config: config["model_cfg"].update(
                vision_cfg={"timm_model_name": "no_such_trunk", "image_size": 16}
            ),
            "no_such_trunk",
        ),
    ],
)
def test_weights_that_do_not_fit_their_configuration_are_refused(
    tiny_folder: Path,
    change_config: ChangeConfig,
    edit: Callable[[dict[str, Any]], object],
    reason: str,
) -> None:
    change_config(tiny_folder, edit)
    assert reason in refusal(f"local-dir:{tiny_folder}")


def test_a_configuration_that_is_no_json_is_refused(tiny_folder: Path) -> None:
    (tiny_folder / "open_clip_config.json").write_text("{")
    assert "a configuration is malformed" in refusal(f"local-dir:{tiny_folder}")


@pytest.mark.parametrize("size_bytes", [0, 5, 1000, 100_000])
def test_cut_off_weights_are_refused(tiny_folder: Path, size_bytes: int) -> None:
    path = tiny_folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:size_bytes])
    assert "Safetensor" in refusal(f"local-dir:{tiny_folder}")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04"])
def test_a_checkpoint_of_nonsense_is_refused(
    tmp_path: Path, register: Register, content: bytes
) -> None:
    register(tag="none", url="")
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    refusal(f"tiny:{path}")


def test_a_hostile_checkpoint_is_refused_and_not_run(tmp_path: Path, register: Register) -> None:
    register(tag="none", url="")
    path, mark = tmp_path / "checkpoint.pt", tmp_path / "it ran"
    torch.save({"weight": RunsWhenUnpickled(mark)}, path)
    message = refusal(f"tiny:{path}")
    assert not mark.exists()
    # torch's message tells how to run it all the same.
    assert "weights_only" not in message
    assert "torch.load" not in message
    assert message.split("could not be loaded: ")[1].startswith(
        "checkpoint.pt holds builtins.getattr, pathlib"
    )


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_a_picture_at_least(tiny_model: str, batch_size: int) -> None:
    with pytest.raises(EncoderError, match=f"batch_size is {batch_size}; expected 1 or more"):
        load_encoder(tiny_model, batch_size=batch_size)
