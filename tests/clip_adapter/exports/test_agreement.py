"""When two computations of probabilities agree."""

from pathlib import Path

import numpy as np
import pytest

from clip_adapter.errors import DataError
from clip_adapter.exports import Agreement, open_graph

SURE = np.array([[0.9, 0.1], [0.2, 0.8]], dtype=np.float32)


def shifted(by: float) -> np.ndarray:
    return SURE + np.array([[-by, by], [0, 0]], dtype=np.float32)


def test_equal_probabilities_agree() -> None:
    agreement = Agreement.of(SURE, SURE)
    assert (agreement.n_images, agreement.difference, agreement.n_other_class) == (2, 0.0, 0)
    assert agreement.holds


@pytest.mark.parametrize(("by", "holds"), [(5e-5, True), (2e-4, False)])
def test_the_bound_is_that_of_the_largest_difference(by: float, *, holds: bool) -> None:
    agreement = Agreement.of(SURE, shifted(by))
    assert agreement.difference == pytest.approx(by, rel=1e-2)
    assert agreement.holds is holds


def test_another_class_is_no_agreement_however_small_the_difference() -> None:
    close = np.array([[0.50002, 0.49998]], dtype=np.float32)
    agreement = Agreement.of(close, close[:, ::-1])
    assert agreement.difference < 1e-4
    assert (agreement.n_other_class, agreement.holds) == (1, False)


def test_of_two_classes_that_share_the_first_place_either_may_win() -> None:
    tied = np.array([[0.5, 0.5]], dtype=np.float32)
    other = np.array([[np.nextafter(0.5, 0), 0.5]], dtype=np.float32)
    assert Agreement.of(tied, other).holds


def test_no_number_is_no_agreement() -> None:
    broken = SURE.copy()
    broken[0, 0] = np.nan
    with pytest.raises(DataError, match=r"model\.onnx disagrees with PyTorch on 2 images"):
        Agreement.of(SURE, broken).check("model.onnx")


def test_probabilities_of_other_classes_are_refused() -> None:
    with pytest.raises(DataError, match="the graph gives"):
        Agreement.of(SURE, SURE[:, :1])


def test_a_graph_that_does_not_run_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(DataError, match=r"onnxruntime cannot run model\.onnx"):
        open_graph(tmp_path / "model.onnx")


def test_batches_add_up_to_one_agreement() -> None:
    parts = [Agreement.of(SURE, SURE), Agreement.of(SURE, shifted(0.8)), Agreement.of(SURE, SURE)]
    total = Agreement.total(parts)
    assert (total.n_images, total.n_other_class) == (6, 1)
    assert total.difference == pytest.approx(0.8)
    broken = SURE.copy()
    broken[0, 0] = np.nan
    assert not Agreement.total([Agreement.of(SURE, broken), Agreement.of(SURE, SURE)]).holds
