"""With nothing to encode and nothing to train nothing is loaded, and what is loaded is loaded once."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clip_adapter import encoders
from clip_adapter.encoders import known_weights
from clip_adapter.pipeline.ablations import reproduce
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.extract import extract
from clip_adapter.pipeline.train import train
from clip_adapter.runs import query
from feature_cache import FeatureStore, ObjectStoreError, stores

COMPUTING = {"torch", "open_clip", "sklearn", "scipy", "altair"}
PutPhotos = Callable[..., Path]
PROGRAM = """
import json, sys
sys.argv[0] = "clip-adapter"
from clip_adapter.cli.app import build
build()(standalone_mode=False)
print(json.dumps(sorted(sys.modules)))
"""
QUICK: dict[str, Any] = {"shots": [1], "seeds": [1]}


@pytest.fixture(name="model_loads")
def _model_loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models that are loaded."""
    loaded: list[str] = []
    load = encoders.load_encoder

    def noted(name: str, **options: Any) -> Any:
        loaded.append(name)
        return load(name, **options)

    monkeypatch.setattr(encoders, "load_encoder", noted)
    return loaded


def modules_after(*arguments: object) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("command", ["train", "extract"])
def test_a_command_with_nothing_to_do_imports_nothing_that_computes(
    photos: Path, root: Path, tiny_model: str, command: str
) -> None:
    train(f"imagefolder:{photos}", model=tiny_model, root=root, **QUICK)
    place = (f"imagefolder:{photos}", "--model", tiny_model, "--root", root)
    asked = ("--shots", "1", "--seeds", "1") if command == "train" else ()
    assert modules_after(command, *place, *asked) & COMPUTING == set()


def test_an_encoder_is_loaded_once_and_not_where_nothing_is_missing(
    photos: Path, root: Path, tiny_model: str, put_photos: PutPhotos, model_loads: list[str]
) -> None:
    asked: dict[str, Any] = {"model": tiny_model, "root": root, **QUICK}
    dataset = f"imagefolder:{photos}"
    train(
        dataset,
        methods=["zero-shot", "coop"],
        settings={"coop": {"epochs": 1, "n_context": 4}},
        **asked,
    )
    assert model_loads == [tiny_model]
    train(dataset, methods=["zero-shot", "linear-probe"], **asked)
    extract(dataset, model=tiny_model, root=root)
    assert model_loads == [tiny_model]
    put_photos(photos, "red", [90])
    extract(dataset, model=tiny_model, root=root)
    assert model_loads == [tiny_model] * 2
    train(dataset, templates=["one more {}."], **asked)
    assert model_loads == [tiny_model] * 3


def test_a_study_loads_its_encoder_once(
    photos: Path, root: Path, tiny_model: str, model_loads: list[str]
) -> None:
    done = reproduce(
        "prompt-style",
        dataset=f"imagefolder:{photos}",
        model=tiny_model,
        recipe="fast",
        root=root,
        **QUICK,
    )
    assert done.n_trained == 3
    assert model_loads == [tiny_model]


def test_a_run_with_nothing_to_encode_digests_the_weights_once(
    photos: Path, root: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(f"imagefolder:{photos}", model=tiny_model, root=root)
    digested: list[str] = []
    digest = known_weights._digest_of
    monkeypatch.setattr(
        known_weights, "_digest_of", lambda file: digested.append(file.suffix) or digest(file)
    )
    train(f"imagefolder:{photos}", model=tiny_model, root=root, **QUICK)
    assert digested.count(".safetensors") == 1


def test_an_encoder_is_known_by_its_weights_and_by_nothing_else(
    photos: Path, root: Path, tiny_model: str, other_tiny_model: str, tmp_path: Path
) -> None:
    encoded = extract(f"imagefolder:{photos}", model=tiny_model, root=root)
    known = Encoding(model=tiny_model).look_up(root).known
    assert known is not None
    assert (known.fingerprint, known.logit_scale) == (encoded.encoder, encoded.logit_scale)
    assert Encoding(model=other_tiny_model).look_up(root).known is None
    assert Encoding(model=tiny_model, precision="bf16").look_up(root).known is None
    assert Encoding(model=tiny_model, resize="squash").look_up(root).known is None
    assert Encoding(model=tiny_model).look_up(tmp_path / "elsewhere").known is None


def test_an_encoder_whose_description_is_damaged_is_loaded_and_described_again(
    photos: Path, root: Path, tiny_model: str, model_loads: list[str]
) -> None:
    extract(f"imagefolder:{photos}", model=tiny_model, root=root)
    (store,) = stores(root)
    for path in Path(str(store.folder / "encoder")).iterdir():
        path.write_bytes(b"damaged")
    assert Encoding(model=tiny_model).look_up(root).known is None
    assert extract(f"imagefolder:{photos}", model=tiny_model, root=root).n_encoded == 0
    assert model_loads == [tiny_model] * 2
    assert Encoding(model=tiny_model).look_up(root).known is not None


def test_a_store_that_does_not_answer_is_not_an_encoder_to_load(
    photos: Path, root: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(f"imagefolder:{photos}", model=tiny_model, root=root)

    def silent(_: FeatureStore) -> None:
        raise ObjectStoreError("the store cannot be reached")

    monkeypatch.setattr(FeatureStore, "descriptions", silent)
    with pytest.raises(ObjectStoreError, match="cannot be reached"):
        Encoding(model=tiny_model).look_up(root)


def test_weights_that_are_replaced_while_they_are_loaded_are_not_recorded(
    photos: Path,
    root: Path,
    tiny_model: str,
    other_tiny_model: str,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the store would serve the features of the old weights for the new ones, forever."""
    folder = shutil.copytree(tiny_model.removeprefix("local-dir:"), tmp_path / "weights")
    load = encoders.load_encoder

    def replaced_meanwhile(name: str, **options: Any) -> Any:
        encoder = load(name, **options)
        shutil.copytree(other_tiny_model.removeprefix("local-dir:"), folder, dirs_exist_ok=True)
        return encoder

    asked: dict[str, Any] = {"model": f"local-dir:{folder}", "root": root}
    with monkeypatch.context() as patch:
        patch.setattr(encoders, "load_encoder", replaced_meanwhile)
        before = extract(f"imagefolder:{photos}", **asked)
    assert Encoding(model=asked["model"]).look_up(root).known is None
    after = extract(f"imagefolder:{photos}", **asked)
    assert after.encoder != before.encoder
    assert after.n_encoded == before.n_encoded


def test_what_a_new_request_reuses_is_recorded_and_a_repeated_one_records_nothing(
    photos: Path, root: Path, tiny_model: str
) -> None:
    asked: dict[str, Any] = {"model": tiny_model, "root": root, "methods": ["zero-shot"]}
    dataset = f"imagefolder:{photos}"
    train(dataset, **asked, **QUICK)
    train(dataset, **asked, shots=[2], seeds=[1])
    before = sorted(root.rglob("*"))
    train(dataset, **asked, shots=[2], seeds=[1])
    assert sorted(root.rglob("*")) == before
    rows = query(root, "SELECT n_encoded, n_reused, seconds > 0 AS took FROM extractions")
    assert rows.to_pylist() == [
        {"n_encoded": 90, "n_reused": 0, "took": True},
        {"n_encoded": 0, "n_reused": 90, "took": False},
    ]
