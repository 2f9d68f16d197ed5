"""The key of a model's weights, told without loading them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import open_clip
import pytest

from clip_adapter.encoders import known_weights, weights_key, weights_source

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


@pytest.fixture(name="hub")
def _hub(tiny_folder: Path, no_cache: Path) -> Path:
    """The cache of the hub, with the tiny model in it as downloaded; the folder of its blobs."""
    repository = no_cache / "hub" / "models--org--tiny"
    snapshot = repository / "snapshots" / "1234"
    for folder in (repository / "refs", repository / "blobs", snapshot):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text("1234")
    for name, blob in ((CONFIG, "c" * 40), (WEIGHTS, "a" * 64)):
        (tiny_folder / name).rename(repository / "blobs" / blob)
        (snapshot / name).symlink_to(repository / "blobs" / blob)
    return repository / "blobs"


def test_the_same_weights_have_the_same_key_wherever_they_lie(
    tiny_model: str, tiny_folder: Path
) -> None:
    assert weights_key(tiny_model) == weights_key(tiny_model)
    assert weights_key(f"local-dir:{tiny_folder}") == weights_key(tiny_model)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_changed_byte_changes_the_key(tiny_folder: Path, name: str) -> None:
    before = weights_key(f"local-dir:{tiny_folder}")
    content = bytearray((tiny_folder / name).read_bytes())
    content[-2] ^= 1
    (tiny_folder / name).write_bytes(content)
    assert weights_key(f"local-dir:{tiny_folder}") not in {before, None}


def test_a_file_that_may_be_preferred_changes_the_key(tiny_folder: Path) -> None:
    before = weights_key(f"local-dir:{tiny_folder}")
    (tiny_folder / "another.bin").touch()
    assert weights_key(f"local-dir:{tiny_folder}") not in {before, None}


def test_precision_and_resize_mode_change_the_key() -> None:
    keys = [
        weights_key(precision=precision, resize=resize)
        for precision in ("fp32", "bf16", "fp16")
        for resize in (None, "squash", "longest")
    ]
    assert len({*keys, None}) == 10


def test_the_preprocessing_changes_the_key_whether_chosen_or_beside_the_weights(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.pt").touch()
    model = f"ViT-B-32:{tmp_path}/own.pt"
    keys = [weights_key(model), weights_key(model, preprocessing="openai")]
    for name in (CONFIG, "preprocessor_config.json", "processor_config.json", "config.json"):
        (tmp_path / name).write_text("{}")
        keys.append(weights_key(model))
    assert len({*keys, None}) == 7


@pytest.fixture(name="forget")
def _forget() -> Iterator[Callable[[], None]]:
    """Let this process digest the code, and look up versions, once more."""

    def forget() -> None:
        known_weights._digest_of_code.cache_clear()
        known_weights._version_of.cache_clear()

    yield forget
    forget()


def test_another_preprocessing_of_a_tag_changes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]
) -> None:
    """Features that an earlier version made with the wrong preprocessing are not found again."""
    (tmp_path / "own.pt").touch()
    model = f"PE-Core-T-16-384:{tmp_path}/own.pt"
    before, digest = weights_key(model), known_weights._digest_of

    def changed(file: Path) -> str:
        return "0" if file.name in {"pretrained.py", "model_settings.py"} else digest(file)

    monkeypatch.setattr(known_weights, "_digest_of", changed)
    forget()
    assert weights_key(model) not in {before, None}


def test_another_version_of_a_package_changes_the_key(
    monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]
) -> None:
    before = weights_key()
    monkeypatch.setattr("clip_adapter.encoders.known_weights.version", lambda _: "0")
    forget()
    assert weights_key() not in {before, None}


def test_a_checkpoint_has_a_key_of_its_architecture(tmp_path: Path) -> None:
    (tmp_path / "own.pt").write_bytes(b"one")
    one, other = (weights_key(f"{each}:{tmp_path}/own.pt") for each in ("ViT-B-32", "ViT-B-16"))
    assert len({one, other, None}) == 3
    (tmp_path / "own.pt").write_bytes(b"two")
    assert weights_key(f"ViT-B-32:{tmp_path}/own.pt") not in {one, None}


def test_a_model_in_the_cache_of_the_hub_is_known_by_its_blob(hub: Path) -> None:
    key = weights_key("hf-hub:org/tiny")
    assert key is not None
    link = hub.parent / "snapshots" / "1234" / WEIGHTS
    link.unlink()
    (hub / ("a" * 64)).rename(hub / ("b" * 64))
    link.symlink_to(hub / ("b" * 64))
    assert weights_key("hf-hub:org/tiny") not in {key, None}


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize(
    "model",
    [
        "hf-hub:org/absent",
        "hf-hub:absent",
        "local-dir:/absent",
        "ViT-B-32:openai",
        "ViT-B-32:no-such-tag",
        "ViT-B-32:/absent.pt",
        "no-such-model:openai",
        "ViT-B-32",
    ],
)
def test_what_is_not_there_or_not_known_has_no_key(model: str) -> None:
    assert weights_key(model) is None


def test_a_configuration_that_is_no_text_has_no_key(tiny_folder: Path) -> None:
    (tiny_folder / "open_clip_config.json").write_bytes(b"\xff{}")
    assert weights_key(f"local-dir:{tiny_folder}") is None


def test_a_model_with_a_tokenizer_from_elsewhere_has_no_key(
    tiny_folder: Path, change_config: Callable[..., None]
) -> None:
    change_config(tiny_folder, lambda it: it["model_cfg"]["text_cfg"].update(hf_tokenizer_name="x"))
    assert weights_key(f"local-dir:{tiny_folder}") is None


def test_a_siglip_whose_tokenizer_is_downloaded_has_no_key(tmp_path: Path) -> None:
    (tmp_path / "own.pt").touch()
    assert weights_key(f"ViT-B-16-SigLIP:{tmp_path}/own.pt") is None


def test_no_tag_of_open_clip_looks_like_a_path() -> None:
    assert [tag for _, tag in open_clip.list_pretrained() if "/" in tag] == []


@pytest.fixture(name="tag")
def _tag(hub: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tag of open_clip's whose weights are the tiny model in the cache of the hub."""
    assert hub.is_dir()
    config = {"hf_hub": "org/tiny/"}
    monkeypatch.setattr(open_clip, "is_pretrained_cfg", lambda _, tag: tag == "tiny")
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: config)
    return "ViT-B-32:tiny"


def test_a_tag_is_known_by_the_file_that_it_stood_for(tag: str, hub: Path) -> None:
    source = weights_source(tag)
    assert source == f"org/tiny/{WEIGHTS}"
    key = weights_key(tag, source=source)
    assert key not in {weights_key(tag), weights_key("ViT-B-16:tiny", source=source), None}
    (hub / ("a" * 64)).rename(hub / ("b" * 64))
    assert weights_key(tag, source=source) is None


@pytest.mark.usefixtures("tag")
@pytest.mark.parametrize("source", ["org/tiny/../x", "../tiny/x", "/etc/passwd", "org/tiny", "x"])
def test_a_source_that_is_no_file_of_the_hub_has_no_key(source: str) -> None:
    assert weights_key("ViT-B-32:tiny", source=source) is None


@pytest.mark.parametrize("model", ["glyphs", "hf-hub:org/tiny", "ViT-B-32:/own.pt", "local-dir:/x"])
def test_what_is_no_tag_has_no_source(model: str) -> None:
    assert weights_source(model) is None


def test_the_key_of_the_built_in_model_takes_neither_torch_nor_time() -> None:
    code = (
        "import json, sys, time; from clip_adapter.encoders import weights_key; "
        "start = time.process_time(); key = weights_key(); "
        "print(json.dumps([key, time.process_time() - start, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    key, seconds, modules = json.loads(done.stdout)
    assert key == weights_key()
    assert {"torch", "open_clip", "huggingface_hub"}.isdisjoint(modules)
    assert seconds < 0.5  # 0.03 on a quiet machine


@pytest.mark.parametrize("beside", ["config.json", "preprocessor_config.json", "vocab.json"])
def test_what_lies_beside_a_checkpoint_is_in_its_key(tmp_path: Path, beside: str) -> None:
    (tmp_path / "own.pt").touch()
    before = weights_key(f"ViT-B-32:{tmp_path}/own.pt")
    (tmp_path / beside).write_text("{}")
    assert weights_key(f"ViT-B-32:{tmp_path}/own.pt") not in {before, None}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.json"])
def test_a_folder_of_transformers_has_the_key_of_its_files(tmp_path: Path, name: str) -> None:
    for each in ("config.json", "model.safetensors", "vocab.json"):
        (tmp_path / each).write_text("{}")
    before = weights_key(f"local-dir:{tmp_path}")
    (tmp_path / name).write_text("{ }")
    assert weights_key(f"local-dir:{tmp_path}") not in {before, None}
