"""Where the preprocessing of a checkpoint was taken from is said, and asked for where it is not known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest

from clip_adapter.pipeline import encoding

Command = Callable[..., Any]
SQUASHED = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "resize_mode": "squash"}


@pytest.fixture(name="checkpoint")
def _checkpoint(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Make open_clip know an architecture `tiny` with tags, all of the same weights; names a copy."""
    folder, home = Path(tiny_model.removeprefix("local-dir:")), tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    weights = folder / "open_clip_model.safetensors"
    (home / ".cache" / "clip").mkdir(parents=True)
    (home / ".cache" / "clip" / "tiny.safetensors").symlink_to(weights)
    own = tmp_path / "own"
    own.mkdir()
    (own / "weights.safetensors").write_bytes(weights.read_bytes())

    def make(**tags: dict[str, Any]) -> str:
        config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
        configs = {**open_clip.factory._MODEL_CONFIGS, "tiny": config}
        monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", configs)
        url = "http://127.0.0.1/tiny.safetensors"
        table = {tag: open_clip.pretrained._pcfg(url=url, **each) for tag, each in tags.items()}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", table)
        return f"tiny:{own / 'weights.safetensors'}"

    return make


def test_a_checkpoint_reuses_the_features_of_its_tag_and_says_what_it_took(
    command: Command, checkpoint: Callable[..., str], photos: Path, root: Path
) -> None:
    model = checkpoint(one=SQUASHED, two=SQUASHED)
    extract = ("extract", f"imagefolder:{photos}", "--root", root, "--model")
    by_tag = command(*extract, "tiny:one", "--json")
    assert json.loads(by_tag.out)["notes"] == []
    source = "preprocessing: that of all tags of tiny in open_clip"
    why = command(
        "cache", "why", "--dataset", f"imagefolder:{photos}", "--model", model, "--root", root
    )
    assert source in why.out
    assert why.out.splitlines()[-1] == "90 of 90 images will be reused, 0 will be encoded"
    by_file = command(*extract, model, "--json")
    summary = json.loads(by_file.out)
    assert (summary["encoded"], summary["reused"]) == (0, 90)
    assert summary["notes"] == [source]
    assert by_file.err.count(f"{model}: {source}") == 1


def test_where_tags_differ_nothing_is_read_before_one_is_chosen(
    command: Command, checkpoint: Callable[..., str], photos: Path, root: Path
) -> None:
    model = checkpoint(one=SQUASHED, two={})
    extract = ("extract", f"imagefolder:{photos}", "--root", root, "--model", model, "--json")
    refused = command(*extract)
    assert refused.code == 1
    assert "  one: resize_mode squash, mean 0.5 0.5 0.5, std 0.5 0.5 0.5\n" in refused.err
    assert "indexing" not in refused.err
    assert not root.exists()
    one = json.loads(command(*extract, "--preprocessing", "one").out)
    two = json.loads(command(*extract, "--preprocessing", "two").out)
    assert one["encoder"] != two["encoder"]
    assert one["encoded"] == two["encoded"] == 90
    again = json.loads(command(*extract, "--preprocessing", "one").out)
    assert (again["encoded"], again["reused"]) == (0, 90)
    why = command(
        "cache",
        "why",
        "--dataset",
        f"imagefolder:{photos}",
        "--model",
        model,
        "--root",
        root,
        *("--preprocessing", "two", "--json"),
    )
    assert json.loads(why.out)["encoder"] == two["encoder"]


def test_a_tag_takes_no_other_preprocessing(
    command: Command, checkpoint: Callable[..., str], photos: Path, root: Path
) -> None:
    checkpoint(one=SQUASHED)
    options = ("--root", root, "--model", "tiny:one", "--preprocessing", "ViT-B-32:openai")
    refused = command("extract", f"imagefolder:{photos}", *options)
    assert refused.code == 1
    assert "has its own preprocessing" in refused.err


def test_another_process_loads_the_same_preprocessing(checkpoint: Callable[..., str]) -> None:
    model = checkpoint(one=SQUASHED, two={})
    asked = encoding.Encoding(model=model, preprocessing="one")
    copied = encoding.Encoding(**asked.__getstate__())
    assert copied.encoder.fingerprint == asked.encoder.fingerprint
    assert copied.encoder.geometry.resize_mode == "squash"
