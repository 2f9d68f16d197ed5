"""A sigmoid model: its bias is kept and changes no number, and no prompts are learned through it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from clip_adapter import encoders
from clip_adapter.encoders import EncoderError
from clip_adapter.methods import METHODS
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.extract import extract
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import TrainRequest
from clip_adapter.pipeline.train import train
from clip_adapter.runs import query
from feature_cache import FeatureStore, stores

Command = Callable[..., Any]
WEIGHTS = "open_clip_model.safetensors"
QUICK: dict[str, Any] = {"shots": [1], "seeds": [1]}
FEW_EPOCHS = {
    name: {"epochs": 1}
    for name in ("clip-adapter", "tip-adapter-f", "task-res", "cross-modal-probe")
}


class Noted(Reporter):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warned: list[str] = []

    def warn(self, message: str) -> None:
        self.warned.append(message)


def encode(photos: Path, root: Path, model: str) -> EncodedDataset:
    return extract(f"imagefolder:{photos}", model=model, root=root)


def test_the_bias_is_kept_with_the_features_and_in_the_runs(
    photos: Path, root: Path, tiny_sigmoid_model: str
) -> None:
    encoded = encode(photos, root, tiny_sigmoid_model)
    assert encoded.logit_bias == -10.0
    known = Encoding(model=tiny_sigmoid_model).look_up(root).known
    assert known is not None
    assert known.logit_bias == -10.0
    train(f"imagefolder:{photos}", model=tiny_sigmoid_model, root=root, methods=["gda"], **QUICK)
    assert query(root, "SELECT logit_bias FROM runs").to_pylist() == [{"logit_bias": -10.0}]


def test_a_clip_has_none_anywhere(photos: Path, root: Path, tiny_model: str) -> None:
    assert encode(photos, root, tiny_model).logit_bias is None
    (store,) = stores(root)
    assert "logit_bias" not in store.descriptions()
    known = Encoding(model=tiny_model).look_up(root).known
    assert known is not None
    assert known.logit_bias is None
    train(f"imagefolder:{photos}", model=tiny_model, root=root, methods=["zero-shot"], **QUICK)
    assert query(root, "SELECT logit_bias FROM runs").to_pylist() == [{"logit_bias": None}]


def test_a_store_of_before_is_read_without_it(
    photos: Path, root: Path, tiny_sigmoid_model: str
) -> None:
    encoded = encode(photos, root, tiny_sigmoid_model)
    store = FeatureStore(root, encoded.encoder)
    fields = {name: value for name, value in store.description().items() if name != "logit_bias"}
    shutil.rmtree(Path(str(store.folder)) / "encoder")
    store.describe(fields)
    known = Encoding(model=tiny_sigmoid_model).look_up(root).known
    assert known is not None
    assert known.logit_bias is None


def test_another_bias_changes_no_number_of_any_run(
    photos: Path, root: Path, tiny_sigmoid_model: str, tmp_path: Path
) -> None:
    original = tiny_sigmoid_model.removeprefix("local-dir:")
    folder = Path(shutil.copytree(original, tmp_path / "another bias"))
    weights = load_file(folder / WEIGHTS)
    save_file(weights | {"logit_bias": weights["logit_bias"] + 13}, folder / WEIGHTS)
    numbers = []
    for model in (tiny_sigmoid_model, f"local-dir:{folder}"):
        methods = ["zero-shot", "linear-probe", "clip-adapter", "tip-adapter"]
        train(
            f"imagefolder:{photos}",
            model=model,
            root=root,
            methods=methods,
            settings={"clip-adapter": {"epochs": 2}},
            **QUICK,
        )
        metrics = (
            "SELECT method, split, name, value FROM metrics JOIN runs USING (run_id) "
            "WHERE model = $model ORDER BY ALL"
        )
        numbers.append(query(root, metrics, {"model": model}).to_pylist())
    assert len(numbers[0]) > 4
    assert numbers[0] == numbers[1]
    biases = query(root, "SELECT DISTINCT logit_bias FROM runs ORDER BY 1").to_pylist()
    assert biases == [{"logit_bias": -10.0}, {"logit_bias": 3.0}]


@pytest.mark.parametrize("is_encoded", [False, True])
def test_coop_is_refused_before_anything_is_loaded_or_written(
    photos: Path,
    root: Path,
    tiny_sigmoid_model: str,
    *,
    is_encoded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if is_encoded:
        encode(photos, root, tiny_sigmoid_model)
    before = sorted(root.rglob("*"))
    monkeypatch.setattr(encoders, "load_encoder", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(EncoderError, match=r"its text tower, read off at 'last' .*OpenAI"):
        train(
            f"imagefolder:{photos}",
            model=tiny_sigmoid_model,
            root=root,
            methods=["zero-shot", "coop"],
            **QUICK,
        )
    assert sorted(root.rglob("*")) == before


def test_all_methods_are_those_that_the_text_tower_allows(
    photos: Path, root: Path, tiny_sigmoid_model: str
) -> None:
    request = TrainRequest.of(
        dataset=f"imagefolder:{photos}",
        model=tiny_sigmoid_model,
        root=root,
        methods=["all"],
        settings=FEW_EPOCHS | {"coop": {"n_context": 2}},
        **QUICK,
    )
    reporter = Noted()
    train(request, reporter=reporter)
    (warning,) = reporter.warned
    assert warning.startswith("coop is left out: prompts cannot be learned for local-dir:")
    assert warning.endswith("the other methods are trained")
    trained = query(root, "SELECT DISTINCT method FROM runs WHERE status = 'completed'")
    assert set(trained.column("method").to_pylist()) == {*METHODS} - {"coop"}


def test_the_command_says_so_in_one_line(
    command: Command, photos: Path, root: Path, tiny_sigmoid_model: str
) -> None:
    place = ("--root", root, "--model", tiny_sigmoid_model)
    outcome = command("train", f"imagefolder:{photos}", "--methods", "coop", *place)
    assert (outcome.code, outcome.out) == (1, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: prompts cannot be learned for local-dir:")
    assert "cannot be entered at its token embeddings" in line
    assert "choose such a model, as ViT-B-32-quickgelu:openai" in line
    assert "--model" not in line  # which was given
    assert not root.exists()
