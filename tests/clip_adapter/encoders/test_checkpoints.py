"""The files of weights that people have: each loads whole, or is refused with the way out."""

import argparse
import hashlib
import io
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clip_adapter.encoders import EncoderError, load_encoder
from clip_adapter.encoders.checkpoints import load_weights, read_checkpoint

State = dict[str, Tensor]
Save = Callable[[State, Path], Path]

TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}
TIMM = {"image_size": 32, "timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear"}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "vit": {"embed_dim": 8, "vision_cfg": VIT, "text_cfg": TEXT},
    "resnet": {"embed_dim": 8, "vision_cfg": RESNET, "text_cfg": TEXT},
    "sigmoid": {
        "embed_dim": 8,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": TIMM,
        "text_cfg": {**TEXT, "pool_type": "last", "proj_bias": True},
    },
}


@pytest.fixture(autouse=True)
def _architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make open_clip know the tiny architectures, and two forms of one of them."""
    larger = {**VIT, "image_size": 24}
    known = {
        **ARCHITECTURES,
        "vit-quickgelu": {**ARCHITECTURES["vit"], "quick_gelu": True},
        "vit-24": {**ARCHITECTURES["vit"], "vision_cfg": larger},
        "siglip": {
            **ARCHITECTURES["sigmoid"],
            "embed_dim": 64,  # test_vit's width, of which SigLIP has no projection
            "vision_cfg": {**TIMM, "timm_pool": "map", "timm_proj": "none"},
        },
        "vit-custom": {**ARCHITECTURES["vit"], "custom_text": True},
    }
    monkeypatch.setattr(
        open_clip.factory, "_MODEL_CONFIGS", {**open_clip.factory._MODEL_CONFIGS, **known}
    )


@cache
def original(architecture: str, seed: int) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return open_clip.create_model(architecture, load_weights=False)


def random_model(architecture: str, seed: int = 0) -> Any:
    return deepcopy(original(architecture, seed))


def weights_of(architecture: str) -> State:
    return {key: each.contiguous() for key, each in random_model(architecture).state_dict().items()}


def loaded(path: Path, architecture: str) -> State:
    """The weights of a model with other random numbers, after the file was loaded."""
    model = random_model(architecture, seed=1)
    load_weights(model, read_checkpoint(path), architecture=architecture)
    state: State = model.state_dict()
    return state


def refusal(path: Path, architecture: str = "vit") -> str:
    with pytest.raises(EncoderError) as refused:
        loaded(path, architecture)
    message = str(refused.value)
    assert all(len(line) <= 200 for line in message.splitlines())
    assert "weights_only" not in message
    return message


def saved_below(*keys: str) -> Save:
    def save(state: State, path: Path) -> Path:
        content: Any = OrderedDict(state)
        for key in reversed(keys):
            content = {"epoch": 3, "optimizer": {"state": {}}, key: content}
        torch.save(content, path)
        return path

    return save


def saved_in_the_old_format(state: State, path: Path) -> Path:
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    return path


def saved_as_safetensors(state: State, path: Path) -> Path:
    save_file(state, path)
    return path


FORMS: dict[str, tuple[str, Save]] = {
    "safetensors": (".safetensors", saved_as_safetensors),
    "alone": (".bin", saved_below()),
    "state_dict": (".ckpt", saved_below("state_dict")),
    "model": (".pth", saved_below("model")),
    "model_state_dict": (".pt", saved_below("model_state_dict")),
    "twice": (".pt", saved_below("model", "state_dict")),
    "old": (".pt", saved_in_the_old_format),
}
PREFIXES = ["", "module.", "model._orig_mod.", "_orig_mod.module.model."]
PRECISIONS = [torch.float32, torch.float16, torch.bfloat16]
PAIRWISE = [
    ([*ARCHITECTURES][(row + column) % 3], form, prefix, PRECISIONS[(row + 2 * column) % 3])
    for row, form in enumerate(FORMS)
    for column, prefix in enumerate(PREFIXES)
]
"""Among them every two of an architecture, a form, a prefix and a precision meet."""


def test_every_two_values_meet() -> None:
    columns = [ARCHITECTURES, FORMS, PREFIXES, PRECISIONS]
    for one, other in combinations(range(4), 2):
        met = {(case[one], case[other]) for case in PAIRWISE}
        assert met == {*product(columns[one], columns[other])}


@pytest.mark.parametrize(("architecture", "form", "prefix", "precision"), PAIRWISE)
def test_every_form_of_a_file_loads_the_same_weights(
    architecture: str, form: str, prefix: str, precision: torch.dtype, tmp_path: Path
) -> None:
    suffix, save = FORMS[form]
    state = weights_of(architecture)
    rounded = {
        key: each.to(precision) if each.is_floating_point() else each for key, each in state.items()
    }
    path = save({prefix + key: each for key, each in rounded.items()}, tmp_path / f"w{suffix}")
    model, checkpoint = random_model(architecture, seed=1), read_checkpoint(path)
    load_weights(model, checkpoint, architecture=architecture)
    found = model.state_dict()
    assert found.keys() == state.keys()
    for key, tensor in found.items():
        assert tensor.dtype == state[key].dtype
        assert torch.equal(tensor, rounded[key].to(tensor.dtype)), key
    note = f"the prefix {prefix!r} was removed from all keys of w{suffix}"
    assert checkpoint.notes == ((note,) if prefix else ())


@pytest.mark.parametrize("form", FORMS)
def test_a_prefix_of_some_keys_is_refused_and_named(form: str, tmp_path: Path) -> None:
    suffix, save = FORMS[form]
    state = {
        key if key == "logit_scale" else f"model.{key}": each
        for key, each in weights_of("vit").items()
    }
    lines = refusal(save(state, tmp_path / f"w{suffix}")).splitlines()
    assert lines.pop(2).endswith("their common prefix is 'model.'")
    assert lines == [
        f"w{suffix} does not fit vit",
        "37 of 38 keys are missing, as 'positional_embedding'",
        "keys of another shape or type: 0",
        (
            "likeliest reason: 37 of the 38 keys carry the prefix 'model.': save the model inside, its "
            "keys without the prefix"
        ),
    ]


def test_half_of_the_keys_and_adapters_are_five_lines(tmp_path: Path) -> None:
    state = weights_of("vit")
    half = {key: state[key] for key in list(state)[::2]}
    key = "base_model.model.visual.transformer.resblocks.{}.attn.lora_A.default.weight"
    adapters = {key.format(n): torch.zeros(4, 16) for n in range(500)}
    path = saved_as_safetensors({**half, **adapters}, tmp_path / "w.safetensors")
    assert refusal(path).splitlines() == [
        "w.safetensors does not fit vit",
        "19 of 38 keys are missing, as 'text_projection'",
        (
            f"500 of the file's 519 keys are unexpected, as {key.format(0)!r}; their common prefix is "
            "'base_model.model.visual.transformer.resblocks.'"
        ),
        "keys of another shape or type: 0",
        (
            "likeliest reason: these are LoRA or other adapter weights: merge them into the model before "
            "saving it (merge_and_unload() in peft)"
        ),
    ]


def test_another_image_size_is_refused_with_its_architecture(tmp_path: Path) -> None:
    path = saved_as_safetensors(weights_of("vit-24"), tmp_path / "w.safetensors")
    lines = refusal(path).splitlines()
    assert lines[3] == (
        "keys of another shape or type: 1, as 'visual.positional_embedding': 10 x 16 float32, "
        "expected 5 x 16 float32"
    )
    assert lines[4] == "likeliest reason: these are weights of another architecture: vit-24"


def test_an_image_size_that_no_architecture_has_is_not_interpolated(tmp_path: Path) -> None:
    state = weights_of("vit")
    state["visual.positional_embedding"] = torch.zeros(17, 16)
    state["positional_embedding"] = torch.zeros(9, 16)
    lines = refusal(saved_as_safetensors(state, tmp_path / "w.safetensors")).splitlines()
    assert lines[3].startswith("keys of another shape or type: 2, as 'positional_embedding'")
    assert "another image size or context length" in lines[4]


@pytest.mark.parametrize(("left", "other"), [("visual", "text"), ("", "image")])
def test_a_tower_that_was_not_saved_is_named(left: str, other: str, tmp_path: Path) -> None:
    state = {
        key: each
        for key, each in weights_of("vit").items()
        if (key.partition(".")[0] == "visual") == bool(left)
    }
    message = refusal(saved_as_safetensors(state, tmp_path / "w.safetensors"))
    assert message.endswith(f"weights of the {other} tower were not saved, or not all of them")


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    state = weights_of("vit")
    state["visual.proj"] = state["visual.proj"].to(torch.int8)
    lines = refusal(saved_as_safetensors(state, tmp_path / "w.safetensors")).splitlines()
    assert lines[3].endswith("as 'visual.proj': 16 x 8 int8, expected 16 x 8 float32")
    assert "does not have" in lines[4]


def test_a_refused_file_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    state = weights_of("vit")
    del state["logit_scale"]
    path = saved_as_safetensors(state, tmp_path / "w.safetensors")
    model, before = random_model("vit", seed=1), random_model("vit", seed=1).state_dict()
    with pytest.raises(EncoderError, match="1 of 38 keys are missing, as 'logit_scale'"):
        load_weights(model, read_checkpoint(path), architecture="vit")
    assert all(torch.equal(each, before[key]) for key, each in model.state_dict().items())


def test_weights_of_clip_load_into_its_form_with_a_text_tower_apart(tmp_path: Path) -> None:
    state = weights_of("vit")
    found = loaded(saved_below("state_dict")(state, tmp_path / "w.pt"), "vit-custom")
    assert torch.equal(found["text.positional_embedding"], state["positional_embedding"])
    assert len(found) == len(state)


def test_scale_and_bias_load_from_numbers_and_from_vectors(tmp_path: Path) -> None:
    state = weights_of("sigmoid")
    for scalar in ("logit_scale", "logit_bias"):
        state[scalar] = state[scalar].reshape(1)
    found = loaded(saved_as_safetensors(state, tmp_path / "w.safetensors"), "sigmoid")
    assert float(found["logit_bias"]) == -10
    assert found["logit_scale"].shape == ()


def test_a_bias_that_the_file_lacks_is_zero_and_one_that_it_has_is_kept(tmp_path: Path) -> None:
    without = weights_of("sigmoid")
    del without["logit_bias"]
    found = loaded(saved_as_safetensors(without, tmp_path / "w.safetensors"), "sigmoid")
    assert float(found["logit_bias"]) == 0
    trained = {**weights_of("vit"), "logit_bias": torch.tensor(-7.0)}
    found = loaded(saved_as_safetensors(trained, tmp_path / "w.safetensors"), "vit")
    assert float(found["logit_bias"]) == -7


def test_counters_of_batches_that_older_files_lack_are_not_missed(tmp_path: Path) -> None:
    state = {key: each for key, each in weights_of("resnet").items() if "num_batches" not in key}
    found = loaded(saved_below("state_dict")(state, tmp_path / "w.pt"), "resnet")
    assert torch.equal(found["visual.bn1.running_var"], state["visual.bn1.running_var"])


@pytest.mark.parametrize("form", ["safetensors", "twice"])
def test_equal_weights_have_one_fingerprint(
    form: str, tiny_model: str, tiny_folder: Path, register: Callable[..., None], tmp_path: Path
) -> None:
    register(tag="none", url="")
    suffix, save = FORMS[form]
    state = load_file(tiny_folder / "open_clip_model.safetensors")
    path = save({f"module.{key}": each for key, each in state.items()}, tmp_path / f"w{suffix}")
    encoder = load_encoder(f"tiny:{path}")
    expected = load_encoder(tiny_model).identity
    assert encoder.identity.weights_sha256 == expected.weights_sha256
    assert encoder.identity.model_config == expected.model_config
    assert any("'module.' was removed" in note for note in encoder.notes)


# What is not a file of weights.


@pytest.fixture(name="follow")
def _follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Run the three lines of a message in the folder of the file, as its reader would."""

    def follow(message: str) -> None:
        lines = [line.strip() for line in message.splitlines()[1:]]
        assert len(lines) == 3
        with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated
            exec("\n".join(lines), {})  # noqa: S102  # what the message says is what is tested

    monkeypatch.chdir(tmp_path)
    yield follow
    torch.serialization.clear_safe_globals()


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ({"epoch": np.float64(3)}, "numpy._core.multiarray.scalar, numpy.dtype"),
        ({"args": argparse.Namespace(lr=0.1), "loss": np.float32(1)}, "argparse.Namespace, numpy"),
    ],
)
def test_what_a_checkpoint_holds_beside_tensors_is_named_with_lines_that_work(
    extra: dict[str, Any], found: str, tmp_path: Path, follow: Callable[[str], None]
) -> None:
    torch.save({"model": weights_of("vit"), **extra}, tmp_path / "run.ckpt")
    message = refusal(tmp_path / "run.ckpt")
    assert message.startswith(f"run.ckpt holds {found}")
    assert "and only tensors are unpickled here" in message
    follow(message)
    assert loaded(tmp_path / "run.safetensors", "vit").keys() == weights_of("vit").keys()


def test_a_namespace_in_the_old_format_is_named(tmp_path: Path) -> None:
    content = {"state_dict": weights_of("vit"), "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert refusal(tmp_path / "w.pt").startswith("w.pt holds argparse.Namespace, and only")


def test_a_whole_pickled_model_is_to_be_saved_by_its_program(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "w.pt")
    message = refusal(tmp_path / "w.pt")
    assert "holds torch.nn.modules.linear.Linear" in message
    assert "in the program that made it" in message
    assert "torch.load" not in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"a": torch.zeros(1), "epoch": 3}, "holds other things than tensors: 'epoch' (int)"),
        ({"weights": {"a": torch.zeros(1)}}, "'weights' (a dictionary of 'a')"),
        ([torch.zeros(1)], "holds list; expected a state dict"),
        ({}, "holds an empty dictionary; expected a state dict"),
        ({"a": torch.eye(2).to_sparse()}, "holds other things than tensors: 'a' (Tensor)"),
    ],
)
def test_what_is_no_state_dict_is_described(content: Any, reason: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert reason in refusal(tmp_path / "w.pt")


@pytest.mark.parametrize("size_bytes", [0, 1, 100, 5000])
@pytest.mark.parametrize("form", FORMS)
def test_a_cut_off_file_is_damaged(form: str, size_bytes: int, tmp_path: Path) -> None:
    suffix, save = FORMS[form]
    path = save(weights_of("vit"), tmp_path / f"w{suffix}")
    path.write_bytes(path.read_bytes()[:size_bytes])
    message = refusal(path)
    assert "\n" not in message
    assert "is damaged" in message or "SafetensorError" in message


@pytest.mark.parametrize("form", FORMS)
def test_a_file_above_the_bound_is_not_opened(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix, save = FORMS[form]
    path = save(weights_of("vit"), tmp_path / f"w{suffix}")
    monkeypatch.setattr("clip_adapter.encoders.checkpoints.LIMIT_BYTES", 1000)
    assert "expected at most" in refusal(path)


def test_an_archive_that_unpacks_to_more_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "w.npz", b=np.zeros(10**6))
    monkeypatch.setattr("clip_adapter.encoders.checkpoints.LIMIT_BYTES", 10**6)
    assert (tmp_path / "w.npz").stat().st_size < 10**5
    assert "expected at most" in refusal(tmp_path / "w.npz", "siglip")


def test_a_tensor_that_repeats_one_number_counts_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"a": torch.zeros(1).expand(1_000_000)}, tmp_path / "w.pt")
    monkeypatch.setattr("clip_adapter.encoders.checkpoints.LIMIT_BYTES", 100_000)
    assert "expected at most" in refusal(tmp_path / "w.pt")


# TorchScript.


class AsOpenAISaves(torch.nn.Module):
    """A CLIP in half precision with the three numbers that OpenAI's archives hold beside it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for number, name in enumerate(("input_resolution", "context_length", "vocab_size")):
            self.register_buffer(name, torch.tensor(number))

    def forward(self, image: Tensor) -> Tensor:
        return image + self.logit_scale


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> Path:
    """A TorchScript archive of `vit`'s weights in half precision."""
    model = AsOpenAISaves(random_model("vit").half())
    with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated
        torch.jit.trace(model, torch.zeros(1)).save(tmp_path / "ViT.pt")
    return tmp_path / "ViT.pt"


def publish(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let open_clip's table name the file's digest, as it does for those of OpenAI."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    url = f"https://openaipublic.azureedge.net/clip/models/{digest}/ViT.pt"
    tags = {"openai": open_clip.pretrained._pcfg(url=url, quick_gelu=False)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "vit", tags)


def test_an_archive_with_a_published_digest_gives_its_weights_alone(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(archive, monkeypatch)
    found, state = loaded(archive, "vit"), weights_of("vit")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key].half().float()) for key in state)


def test_another_archive_is_refused_with_lines_that_work(
    archive: Path, tmp_path: Path, follow: Callable[[str], None]
) -> None:
    message = refusal(archive)
    assert message.startswith(
        "ViT.pt is a TorchScript archive, which is code, and none that OpenAI"
    )
    follow(message)
    found = loaded(tmp_path / "ViT.safetensors", "vit")
    assert torch.equal(found["visual.proj"], weights_of("vit")["visual.proj"].half().float())


def test_one_changed_byte_makes_it_another_archive(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(archive, monkeypatch)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    assert "TorchScript archive" in refusal(archive)


def test_the_bytes_that_were_digested_are_those_loaded(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(archive, monkeypatch)
    given, load = [], torch.jit.load
    monkeypatch.setattr(torch.jit, "load", lambda file, **_: given.append(file) or load(file))
    read_checkpoint(archive)
    assert isinstance(given[0], io.BytesIO)
    assert given[0].getvalue() == archive.read_bytes()


# big_vision.

Arrays = dict[str, np.ndarray]


def as_big_vision(model: Any) -> Arrays:
    """The arrays of a SigLIP of big_vision: what open_clip's reader does, backwards."""
    state = {key: each.numpy() for key, each in model.state_dict().items()}
    trunk, text = "visual.trunk", "text"
    arrays: Arrays = {"b": state["logit_bias"][None], "t": state["logit_scale"][None]}
    embedding = state[f"{trunk}.patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    arrays |= {
        "img/embedding/kernel": embedding,
        "img/embedding/bias": state[f"{trunk}.patch_embed.proj.bias"],
        "img/cls": state[f"{trunk}.cls_token"],
        "img/pos_embedding": state[f"{trunk}.pos_embed"],
        "txt/Embed_0/embedding": state[f"{text}.token_embedding.weight"],
        "txt/pos_embedding": state[f"{text}.positional_embedding"][None],
        "img/MAPHead_0/probe": state[f"{trunk}.attn_pool.latent"],
    }

    def norm(ours: str, theirs: str) -> None:
        arrays[f"{theirs}/scale"], arrays[f"{theirs}/bias"] = (
            state[f"{ours}.weight"],
            state[f"{ours}.bias"],
        )

    def dense(ours: str, theirs: str) -> None:
        arrays[f"{theirs}/kernel"] = state[f"{ours}.weight"].T
        arrays[f"{theirs}/bias"] = state[f"{ours}.bias"]

    def attention(weight: np.ndarray, bias: np.ndarray, ours: str, theirs: str) -> None:
        for part, matrix, row in zip(
            ("query", "key", "value"), np.split(weight, 3), np.split(bias, 3), strict=True
        ):
            arrays[f"{theirs}/{part}/kernel"] = matrix.T.reshape(len(row), 2, -1)
            arrays[f"{theirs}/{part}/bias"] = row.reshape(2, -1)
        projection = state[f"{ours}.weight"]
        heads = projection.reshape(len(projection), 2, -1)
        arrays[f"{theirs}/out/kernel"] = heads.transpose(1, 2, 0)
        arrays[f"{theirs}/out/bias"] = state[f"{ours}.bias"]

    for n in range(len(model.visual.trunk.blocks)):
        ours, theirs = f"{trunk}.blocks.{n}", f"img/Transformer/encoderblock_{n}"
        heads = f"{theirs}/MultiHeadDotProductAttention_0"
        qkv = f"{ours}.attn.qkv"
        attention(state[f"{qkv}.weight"], state[f"{qkv}.bias"], f"{ours}.attn.proj", heads)
        for part in (0, 1):
            norm(f"{ours}.norm{part + 1}", f"{theirs}/LayerNorm_{part}")
            dense(f"{ours}.mlp.fc{part + 1}", f"{theirs}/MlpBlock_0/Dense_{part}")
    for n in range(len(model.text.transformer.resblocks)):
        ours, theirs = f"{text}.transformer.resblocks.{n}", f"txt/Encoder_0/encoderblock_{n}"
        heads = f"{theirs}/MultiHeadDotProductAttention_0"
        qkv = f"{ours}.attn.in_proj"
        attention(state[f"{qkv}_weight"], state[f"{qkv}_bias"], f"{ours}.attn.out_proj", heads)
        for part, layer in enumerate(("c_fc", "c_proj")):
            norm(f"{ours}.ln_{part + 1}", f"{theirs}/LayerNorm_{part}")
            dense(f"{ours}.mlp.{layer}", f"{theirs}/MlpBlock_0/Dense_{part}")
    pool, theirs = f"{trunk}.attn_pool", "img/MAPHead_0"
    weight, bias = (
        np.concatenate([state[f"{pool}.q.{kind}"], state[f"{pool}.kv.{kind}"]])
        for kind in ("weight", "bias")
    )
    attention(weight, bias, f"{pool}.proj", f"{theirs}/MultiHeadDotProductAttention_0")
    norm(f"{pool}.norm", f"{theirs}/LayerNorm_0")
    for part in (0, 1):
        dense(f"{pool}.mlp.fc{part + 1}", f"{theirs}/MlpBlock_0/Dense_{part}")
    norm(f"{trunk}.norm", "img/Transformer/encoder_norm")
    norm(f"{text}.ln_final", "txt/Encoder_0/encoder_norm")
    dense(f"{text}.text_projection", "txt/head")
    return arrays


@pytest.mark.parametrize("root", ["", "params/"])
def test_arrays_of_big_vision_load_the_same_weights(root: str, tmp_path: Path) -> None:
    arrays = {root + key: each for key, each in as_big_vision(random_model("siglip")).items()}
    np.savez(tmp_path / "w.npz", **arrays, step=np.ones(3))
    found, state = loaded(tmp_path / "w.npz", "siglip"), weights_of("siglip")
    assert [key for key in state if not torch.equal(found[key], state[key])] == []


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        # open_clip's reader takes the first blocks of more, and stretches one number over many.
        ("txt/Encoder_0/encoderblock_1/LayerNorm_0/scale", (16,)),
        ("img/Transformer/encoder_norm/bias", (1,)),
    ],
)
def test_arrays_of_another_size_are_refused(
    key: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    arrays = as_big_vision(random_model("siglip"))
    np.savez(tmp_path / "w.npz", **{**arrays, key: np.ones(shape, np.float32)})
    message = refusal(tmp_path / "w.npz", "siglip")
    assert "numbers of a SigLIP of big_vision, and this architecture has" in message


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", b=np.array([object()], dtype=object))
    message = refusal(tmp_path / "w.npz", "siglip")
    assert message == "w.npz is damaged, or holds other things than arrays of numbers"
