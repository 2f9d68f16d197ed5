"""The graphs of classifiers and of image towers give what PyTorch gives, at any size of a batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from clip_adapter.encoders import load_encoder
from clip_adapter.errors import DataError, EncoderError
from clip_adapter.exports import Agreement, onnx_graphs, open_graph
from clip_adapter.exports.folder import OPSETS
from clip_adapter.methods import SavedClassifier

KINDS = (
    "prototypes",
    "linear",
    "adapter",
    "predicted ratio",
    "cache",
    "weighted cache",
    "kernel",
    "blend",
)
Make = Callable[..., SavedClassifier]


def check_head(saved: SavedClassifier, path: Path) -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(101, saved.classifier.width)).astype(np.float32)
    batches = [features[:1], features[1:8], features[8:]]
    found = np.concatenate([*map(open_graph(path), batches)])
    agreement = Agreement.of(saved.probabilities(features), found)
    assert agreement.holds
    assert agreement.difference < 2e-5  # float32 at a logit scale of 20 and a temperature of 0.5


def test_the_head_with_a_predicted_ratio_is_what_torch_computes(
    make_classifier: Make, tmp_path: Path
) -> None:
    saved = make_classifier("predicted ratio")
    onnx_graphs.write_head(saved, tmp_path / "head.onnx")
    check_head(saved, tmp_path / "head.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opset", [OPSETS[0], OPSETS[-1]])
def test_every_kind_of_classifier_is_what_torch_computes(
    kind: str, opset: int, make_classifier: Make, tmp_path: Path
) -> None:
    saved = make_classifier(kind)
    onnx_graphs.write_head(saved, tmp_path / "head.onnx", opset=opset)
    check_head(saved, tmp_path / "head.onnx")
    (used,) = (
        each.version
        for each in onnx.load(tmp_path / "head.onnx").opset_import
        if each.domain in {"", "ai.onnx"}
    )
    assert used == opset


def test_a_classifier_of_another_kind_is_refused(make_classifier: Make, tmp_path: Path) -> None:
    class Guess:
        width = 8
        class_names = ("a", "b")

    saved = make_classifier("linear")
    object.__setattr__(saved, "classifier", Guess())
    with pytest.raises(DataError, match="a Guess, as clip-adapter makes it, cannot be exported"):
        onnx_graphs.write_head(saved, tmp_path / "head.onnx")


def test_a_tower_that_torch_cannot_export_is_named_with_what_is_possible(
    make_classifier: Make, tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        cause = NotImplementedError("no operator for aten::strange")
        raise RuntimeError("Failed to export the model.\nThis is step 1/3") from cause

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(EncoderError) as refused:
        onnx_graphs.write_model(
            make_classifier("linear"), load_encoder(tiny_model), tmp_path / "model.onnx"
        )
    message = str(refused.value)
    assert tiny_model in message
    assert "NotImplementedError: no operator for aten::strange" in message
    assert "--no-encoder" in message


@pytest.mark.slow
def test_large_weights_lie_beside_the_graph_and_nothing_tells_where_it_was_made(
    make_classifier: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_graphs, "MOST_BYTES_INSIDE", 100)
    saved = make_classifier("adapter")
    (tmp_path / "first").mkdir()
    onnx_graphs.write_head(saved, tmp_path / "first" / "head.onnx")
    assert (tmp_path / "first" / "head.onnx.data").is_file()
    moved = (tmp_path / "first").rename(tmp_path / "second")
    check_head(saved, moved / "head.onnx")
    graph = onnx.load(moved / "head.onnx")
    texts = [node.doc_string for node in graph.graph.node]
    assert not any(texts)
    assert not any(node.metadata_props for node in graph.graph.node)
    assert str(Path(onnx_graphs.__file__).parent).encode() not in graph.SerializeToString()
