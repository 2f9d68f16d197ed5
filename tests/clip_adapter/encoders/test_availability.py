"""Whether a model's weights can be had, found out on loopback only."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_hub import FakeHub, cache_on_hub

from clip_adapter.encoders import ReachabilityCheck, check_available, parse_model_name
from clip_adapter.encoders.names import CONFIG_FILE
from clip_adapter.errors import EncoderError, NoNetworkError

HUB_MODELS = ("ViT-B-32:laion2b_s34b_b79k", "ViT-B-32:openai", "hf-hub:laion/CLIP-ViT-B-32")

UseHub = Callable[[str], None]

pytestmark = pytest.mark.usefixtures("no_cache")


@pytest.mark.parametrize("name", HUB_MODELS)
def test_without_a_network_the_host_and_the_ways_around_it_are_named(
    name: str, closed_host: str, use_hub: UseHub
) -> None:
    use_hub(closed_host)
    start = time.monotonic()
    with pytest.raises(NoNetworkError) as refusal:
        check_available(parse_model_name(name))
    assert time.monotonic() - start < 10.0
    for word in (name, closed_host, "local-dir:", "ARCHITECTURE:PATH", "glyphs"):
        assert word in str(refusal.value)


@pytest.mark.parametrize("name", HUB_MODELS)
def test_a_hub_that_answers_is_enough(name: str, hub: FakeHub) -> None:
    hub.files[f"laion/CLIP-ViT-B-32/{CONFIG_FILE}"] = b"{}"
    assert check_available(parse_model_name(name))


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_what_the_hub_gave_before_needs_no_network(
    file: str, no_cache: Path, closed_host: str, use_hub: UseHub
) -> None:
    use_hub(closed_host)
    for each in (CONFIG_FILE, file):
        cache_on_hub("laion/CLIP-ViT-B-32", no_cache, file=each, content="{}")
    assert not check_available(parse_model_name("hf-hub:laion/CLIP-ViT-B-32"))


def test_weights_at_a_url_are_asked_of_their_own_host(
    register: Callable[..., None],
    weights_host: str,
    closed_host: str,
    use_hub: UseHub,
) -> None:
    use_hub(closed_host)
    register(tag="away", url=f"{weights_host}/open_clip_model.safetensors")
    check_available(parse_model_name("tiny:away"))


def test_a_url_out_of_reach_names_its_host(register: Callable[..., None], closed_host: str) -> None:
    register(tag="away", url=f"{closed_host}/models/away.safetensors")
    with pytest.raises(NoNetworkError, match=f"{closed_host} does not answer"):
        check_available(parse_model_name("tiny:away"))


def test_what_a_url_gave_before_needs_no_network(
    register: Callable[..., None], no_cache: Path, closed_host: str
) -> None:
    register(tag="away", url=f"{closed_host}/models/away.safetensors")
    (no_cache / ".cache" / "clip").mkdir(parents=True)
    (no_cache / ".cache" / "clip" / "away.safetensors").touch()
    check_available(parse_model_name("tiny:away"))


def test_local_weights_are_asked_of_nobody(
    tiny_folder: Path, closed_host: str, use_hub: UseHub
) -> None:
    use_hub(closed_host)
    check_available(parse_model_name(f"local-dir:{tiny_folder}"))
    check_available(parse_model_name(f"RN50:{tiny_folder}/open_clip_model.safetensors"))


def test_a_question_that_is_under_way_is_not_asked_again(
    weights_host: str, closed_host: str, use_hub: UseHub
) -> None:
    use_hub(closed_host)
    answered = ReachabilityCheck(weights_host)
    assert answered.is_reachable()
    answered.url = closed_host  # as if the host had answered before it went away
    check_available(parse_model_name("ViT-B-32:openai"), check=answered)


def test_a_question_to_another_host_does_not_count(
    weights_host: str, closed_host: str, use_hub: UseHub
) -> None:
    use_hub(closed_host)
    with pytest.raises(NoNetworkError, match=closed_host):
        check_available(parse_model_name("ViT-B-32:openai"), check=ReachabilityCheck(weights_host))


def test_a_missing_network_is_a_connection_error() -> None:
    assert issubclass(NoNetworkError, EncoderError)
    assert issubclass(NoNetworkError, ConnectionError)
