"""What a model needs is known before anything is downloaded or allocated."""

import importlib.util
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from fake_hub import FakeHub, cache_on_hub
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from clip_adapter.encoders import (
    Encoder,
    availability,
    can_be_normalised,
    check_available,
    load_encoder,
    model_sizes,
    parse_model_name,
)
from clip_adapter.errors import EncoderError, NoNetworkError
from clip_adapter.pipeline.encoding import Encoding

ChangeConfig = Callable[[Path, Callable[[dict[str, Any]], object]], None]
UseHub = Callable[[str], None]
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
SIGLIP, TOKENIZER = "ViT-B-16-SigLIP:webli", "timm/ViT-B-16-SigLIP"
N_TAGS_OF_TRANSFORMERS = 47


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Let transformers seem to be installed or not."""
    found = importlib.util.find_spec("json")

    def packages(has_transformers: bool) -> None:  # noqa: FBT001  # the only thing it says
        def find(name: str) -> object:
            if name == "transformers":
                return found if has_transformers else None
            return importlib.util.find_spec(name)

        monkeypatch.setattr(availability, "find_spec", find)

    return packages


@pytest.fixture
def silent_host() -> Iterator[str]:
    """A host that takes every connection and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def refusal(name: str, *, of: type[EncoderError] = EncoderError) -> str:
    """The line in which a model is refused by the check and by loading alike."""
    with pytest.raises(of) as checked:
        Encoding(model=name).check("digits")
    with pytest.raises(of) as loaded:
        load_encoder(name)
    assert str(checked.value) == str(loaded.value)
    assert "\n" not in str(loaded.value)
    return str(loaded.value)


def test_a_siglip_tag_asks_for_transformers_before_any_download(
    hub: FakeHub, packages: Callable[[bool], None]
) -> None:
    packages(False)
    assert "pip install 'clip-adapter[hf]'" in refusal(SIGLIP)
    assert hub.asked == []


def test_all_tags_that_need_transformers_are_known_by_their_configuration(
    hub: FakeHub, packages: Callable[[bool], None]
) -> None:
    packages(False)
    refused = [tag for tag in open_clip.list_pretrained(as_str=True) if lacks_transformers(tag)]
    assert len(refused) == N_TAGS_OF_TRANSFORMERS
    assert hub.asked == []


def lacks_transformers(name: str) -> bool:
    try:
        check_available(parse_model_name(name))
    except EncoderError as error:
        return "needs the package transformers" in str(error)
    return False


def test_a_checkpoint_and_a_folder_ask_for_transformers_before_they_are_read(
    tiny_folder: Path, change_config: ChangeConfig, packages: Callable[[bool], None]
) -> None:
    packages(False)
    (tiny_folder / WEIGHTS).write_bytes(b"never read")
    assert "clip-adapter[hf]" in refusal(f"ViT-B-16-SigLIP:{tiny_folder / WEIGHTS}")
    change_config(tiny_folder, needs_tokenizer)
    assert "clip-adapter[hf]" in refusal(f"local-dir:{tiny_folder}")


def needs_tokenizer(config: dict[str, Any]) -> None:
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = TOKENIZER


def test_of_a_hub_model_only_the_configuration_is_downloaded_before_it_is_refused(
    hub: FakeHub, tiny_folder: Path, change_config: ChangeConfig, packages: Callable[[bool], None]
) -> None:
    packages(False)
    change_config(tiny_folder, needs_tokenizer)
    hub.files = {
        f"org/model/{name}": (tiny_folder / name).read_bytes() for name in (CONFIG, WEIGHTS)
    }
    assert "clip-adapter[hf]" in refusal("hf-hub:org/model")
    assert set(hub.asked) == {f"org/model/{CONFIG}"}


def test_a_hub_model_without_configuration_is_refused_in_one_line(hub: FakeHub) -> None:
    assert f"no {CONFIG} could be read from org/model at {hub.url}" in refusal("hf-hub:org/model")


def test_a_hub_model_is_downloaded_and_loaded_from_its_cache_when_the_hub_is_gone(
    hub: FakeHub, tiny_folder: Path, closed_host: str, use_hub: UseHub
) -> None:
    hub.files = {
        f"org/model/{name}": (tiny_folder / name).read_bytes() for name in (CONFIG, WEIGHTS)
    }
    fingerprint = load_encoder("hf-hub:org/model").fingerprint
    use_hub(closed_host)
    assert load_encoder("hf-hub:org/model").fingerprint == fingerprint


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize("name", [SIGLIP, f"ViT-B-16-SigLIP:{WEIGHTS}"])
@pytest.mark.parametrize("host", ["closed_host", "silent_host"])
def test_without_a_network_a_missing_tokenizer_is_named_with_the_way_out(  # noqa: PLR0917
    name: str,
    host: str,
    tmp_path: Path,
    no_cache: Path,
    use_hub: UseHub,
    packages: Callable[[bool], None],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The weights are on this machine, as a tag's or as a checkpoint."""
    url = request.getfixturevalue(host)
    packages(True)
    use_hub(url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"never read")
    cache_on_hub(TOKENIZER, no_cache, file=WEIGHTS)
    start = time.monotonic()
    with pytest.raises(NoNetworkError) as refused:
        load_encoder(name)
    assert time.monotonic() - start < 10.0  # 4 s for a host that never answers
    for words in (f"its tokenizer {TOKENIZER}", f"{url} does not answer", "local-dir:FOLDER"):
        assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_forbidden_download_is_said_to_be_forbidden(
    hub: FakeHub, packages: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages(True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids to download" in refusal(SIGLIP, of=NoNetworkError)
    assert hub.asked == []


@pytest.mark.parametrize("variable", ["ALL_PROXY", "https_proxy", "UNUSED_ALL_PROXY"])
def test_a_download_through_a_proxy_that_no_client_can_use_is_refused_in_one_line(
    variable: str, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last is what `up` and `--prefect` leave of ALL_PROXY; nothing goes around the proxy."""
    monkeypatch.setenv(variable, "socks9://user:secret@127.0.0.1:9")
    message = refusal("ViT-B-32:openai", of=NoNetworkError)
    name = variable.removeprefix("UNUSED_")
    assert f"the proxy {name}=socks9://127.0.0.1:9 cannot be used here" in message
    assert hub.asked == []


@pytest.mark.parametrize("proxy", ["http://user:secret@127.0.0.1:9", "127.0.0.1:9"])
def test_a_download_through_a_dead_proxy_is_refused_in_one_line(
    proxy: str, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    message = refusal("ViT-B-32:openai", of=NoNetworkError)
    assert f"{hub.url} does not answer through the proxy 127.0.0.1:9" in message
    assert hub.asked == []


def test_a_folder_without_the_files_of_its_tokenizer_names_them(
    tiny_folder: Path, change_config: ChangeConfig, packages: Callable[[bool], None]
) -> None:
    packages(True)
    change_config(tiny_folder, needs_tokenizer)
    message = refusal(f"local-dir:{tiny_folder}")
    assert f"no tokenizer in {tiny_folder}" in message
    assert "tokenizer.json, spiece.model" in message


@pytest.fixture(name="tokenizer_files")
def _tokenizer_files() -> dict[str, str]:
    pytest.importorskip("transformers", reason="needs the extra hf")
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra hf")
    words = tokenizers.models.WordLevel(
        {"<pad>": 0, "<unk>": 1, "</s>": 2, "a": 3},
        unk_token="<unk>",  # noqa: S106
    )
    kind = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    return {
        "tokenizer.json": tokenizers.Tokenizer(words).to_str(),
        "tokenizer_config.json": json.dumps(kind),
        "config.json": json.dumps({"model_type": "siglip"}),
    }


def test_a_tokenizer_of_the_cache_needs_no_network(  # noqa: PLR0917
    tokenizer_files: dict[str, str],
    tiny_folder: Path,
    change_config: ChangeConfig,
    no_cache: Path,
    closed_host: str,
    use_hub: UseHub,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Else transformers would ask for its optional files, with retries of half a minute each."""
    use_hub(closed_host)
    change_config(tiny_folder, needs_tokenizer)
    for name, content in tokenizer_files.items():
        cache_on_hub(TOKENIZER, no_cache, file=name, content=content)
    cache_on_hub("org/model", no_cache, file=CONFIG, content=(tiny_folder / CONFIG).read_text())
    cache_on_hub("org/model", no_cache, file=WEIGHTS)
    shutil.copy(tiny_folder / WEIGHTS, no_cache / "hub/models--org--model/snapshots/0123" / WEIGHTS)
    assert load_encoder("hf-hub:org/model").encode_prompts(["a"]).shape == (1, 16)
    assert "Connection refused" not in caplog.text


def test_a_folder_with_the_files_of_its_tokenizer_is_loaded(
    tokenizer_files: dict[str, str], tiny_folder: Path, change_config: ChangeConfig
) -> None:
    change_config(tiny_folder, needs_tokenizer)
    for name, content in tokenizer_files.items():
        (tiny_folder / name).write_text(content)
    assert load_encoder(f"local-dir:{tiny_folder}").encode_prompts(["a"]).shape == (1, 16)


def test_an_image_tower_that_timm_lacks_is_refused_before_the_download(
    hub: FakeHub, tiny_folder: Path, change_config: ChangeConfig
) -> None:
    trunk = {"timm_model_name": "vit_of_next_year", "image_size": 16}
    change_config(tiny_folder, lambda config: config["model_cfg"].update(vision_cfg=trunk))
    hub.files = {
        f"org/model/{name}": (tiny_folder / name).read_bytes() for name in (CONFIG, WEIGHTS)
    }
    assert "has no image tower 'vit_of_next_year'" in refusal("hf-hub:org/model")
    assert set(hub.asked) == {f"org/model/{CONFIG}"}


@pytest.mark.parametrize(
    ("tower", "sizes", "reason"),
    [
        ("vision_cfg", {"width": 10**6}, "at least 1.2e+13 parameters"),
        ("vision_cfg", {"layers": 10**9}, "layers is 1000000000; expected at most 1,000"),
        ("vision_cfg", {"layers": 0}, "layers is 0; expected a whole number of 1 or more"),
        ("vision_cfg", {"layers": [3, -4, 6, 3]}, "vision_cfg.layers is -4"),
        (
            "vision_cfg",
            {"image_size": [16, 10**6]},
            "image_size is 1000000; expected at most 8,192",
        ),
        ("vision_cfg", {"patch_size": 10**7}, "parameters"),
        (
            "vision_cfg",
            {"head_width": 5},
            "vision_cfg.width is 16, which its 3 heads do not divide",
        ),
        ("vision_cfg", {"mlp_ratio": 1e9}, "expected a number above 0, at most 1,000"),
        ("vision_cfg", {"mlp_ratio": float("nan")}, "mlp_ratio is nan; expected a number above 0"),
        ("text_cfg", {"width": "wide"}, "text_cfg.width is 'wide'; expected a whole number"),
        ("text_cfg", {"width": 9}, "text_cfg.width is 9, which its 2 heads do not divide"),
        ("text_cfg", {"context_length": 10**6}, "parameters"),
        ("text_cfg", {"vocab_size": -1}, "text_cfg.vocab_size is -1"),
        ("text_cfg", {"vocab_size": 10**12}, "expected at most 100,000,000"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_built(  # noqa: PLR0917
    tower: str,
    sizes: dict[str, Any],
    reason: str,
    tiny_folder: Path,
    change_config: ChangeConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_clip, "create_model_and_transforms", None)
    change_config(tiny_folder, lambda config: config["model_cfg"][tower].update(sizes))
    message = refusal(f"local-dir:{tiny_folder}")
    assert reason in message
    assert len(message) < 400


def test_a_model_larger_than_this_machine_is_told_the_memory(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_sizes, "_memory_bytes", lambda: 2**20)
    assert "this machine has 0 GiB" in refusal(f"local-dir:{tiny_folder}")


SIZES = [
    *(("vision_cfg", name) for name in ("image_size", "patch_size", "width", "layers")),
    *(("vision_cfg", name) for name in ("head_width", "mlp_ratio", "attn_pooler_queries")),
    *(("text_cfg", name) for name in ("context_length", "vocab_size", "width", "heads", "layers")),
    *(("text_cfg", name) for name in ("mlp_ratio", "ls_init_value", "eos_id", "hf_model_name")),
    *(("text_cfg", name) for name in ("hf_tokenizer_name", "tokenizer_kwargs", "pool_type")),
]
VALUES = st.one_of(
    st.sampled_from(
        [0, -1, 10**6, 10**9, 10**30, 0.5, float("nan"), float("inf"), "8", "", [], {}]
    ),
    st.sampled_from([None, True, [1], [2, 2], [1, 1, 1, 1], [None], [[1]], {"a": 1}]),
    st.integers(1, 20),
)


@given(
    changes=st.dictionaries(st.sampled_from(SIZES), VALUES, min_size=1, max_size=3),
    embed_dim=VALUES,
)
@example(changes={("vision_cfg", "mlp_ratio"): 10**6}, embed_dim=16)
@example(changes={("text_cfg", "width"): [2, 2]}, embed_dim=16)
@example(changes={("vision_cfg", "mlp_ratio"): 1e308}, embed_dim=16)
@example(changes={("text_cfg", "width"): 10**400}, embed_dim=16)
@example(changes={("text_cfg", "vocab_size"): 10**200}, embed_dim=16)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_numbers_a_configuration_holds_it_loads_or_is_refused_in_a_few_lines(
    changes: dict[tuple[str, str], Any], embed_dim: Any, tiny_model: str, tmp_path: Path
) -> None:
    original, folder = Path(tiny_model.removeprefix("local-dir:")), tmp_path / "fuzzed"
    shutil.copytree(original, folder, dirs_exist_ok=True)
    config = json.loads((original / CONFIG).read_text())
    config["model_cfg"]["embed_dim"] = embed_dim
    for (tower, name), value in changes.items():
        config["model_cfg"][tower][name] = value
    (folder / CONFIG).write_text(json.dumps(config))
    try:
        assert isinstance(load_encoder(f"local-dir:{folder}"), Encoder)
    except EncoderError as error:
        assert str(error).count("\n") <= 4  # noqa: PT017  # loading is as good


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_weights_that_are_no_weights_are_named(tiny_folder: Path, value: float) -> None:
    state = load_file(tiny_folder / WEIGHTS)
    state["visual.conv1.weight"][:] = value
    save_file(state, tiny_folder / WEIGHTS)
    message = refusal_of_loading(tiny_folder)
    what = "not finite" if value else "all zero"
    assert f"1 of {len(state)} tensors hold no weights: visual.conv1.weight ({what})" in message


def test_a_file_of_zeros_is_refused_in_a_short_line(tiny_folder: Path) -> None:
    state = {
        name: torch.zeros_like(tensor) for name, tensor in load_file(tiny_folder / WEIGHTS).items()
    }
    save_file(state, tiny_folder / WEIGHTS)
    message = refusal_of_loading(tiny_folder)
    assert " more; download or save the file again" in message
    assert len(message) < 500


def test_a_bias_of_zeros_is_a_bias(tiny_folder: Path) -> None:
    state = load_file(tiny_folder / WEIGHTS)
    state["ln_final.bias"][:] = 0
    save_file(state, tiny_folder / WEIGHTS)
    load_encoder(f"local-dir:{tiny_folder}")


def refusal_of_loading(folder: Path) -> str:
    with pytest.raises(EncoderError) as refused:
        load_encoder(f"local-dir:{folder}")
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_only_a_finite_feature_with_a_length_can_be_normalised() -> None:
    rows = [
        [3.0, 4.0],
        [0.0, 0.0],
        [1e-13, 0.0],
        [1e-6, 0.0],
        [np.nan, 1.0],
        [np.inf, 1.0],
        [3e38, 3e38],
    ]
    usable = can_be_normalised(np.array(rows, np.float32))
    assert usable.tolist() == [True, False, False, True, False, False, True]


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_prompts_without_a_feature_are_counted_and_the_first_is_named(
    value: float, tiny_model: str
) -> None:
    encoder = load_encoder(tiny_model)
    end = encoder.tokenizer(["zebra"])[0, 1]
    with torch.no_grad():
        encoder.model.token_embedding.weight[end] = float("nan")
    if not value:
        encoder.model.text_projection.data.zero_()
    expected = (
        "2 of 2 prompts, the first is 'a'" if not value else "1 of 2 prompts, the first is 'zebra'"
    )
    with pytest.raises(EncoderError, match=f"makes zero, infinity or NaN of {expected}"):
        encoder.encode_prompts(["a", "zebra"])


def test_what_is_on_this_machine_loads_whatever_the_proxy(
    tiny_folder: Path, no_cache: Path, use_hub: UseHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's client cannot even be made with such a proxy."""
    use_hub("http://127.0.0.1:9")
    repository = no_cache / "hub" / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("1234")
    (repository / "snapshots").mkdir()
    tiny_folder.rename(repository / "snapshots" / "1234")
    monkeypatch.setenv("ALL_PROXY", "socks4://127.0.0.1:9")
    assert load_encoder("hf-hub:org/tiny").context_length == 16
    assert os.environ["ALL_PROXY"] == "socks4://127.0.0.1:9"
