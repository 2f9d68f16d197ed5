"""What computes compares every array with the shape that its signature names, while tests run."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from clip_adapter.methods import gda
from clip_adapter.methods.fitting import task_res
from clip_adapter.methods.tensors import float_tensor


def test_an_array_of_another_rank_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="counts"):
        gda.gaussian_weights(np.ones((3, 1)), np.ones((3, 2)), np.eye(2))


def test_an_array_of_another_length_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="sums"):
        gda.gaussian_weights(np.ones(2), np.ones((3, 2)), np.eye(2))


def test_a_tensor_of_another_type_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="alphas"):
        task_res._learn(torch.zeros(2, 1, dtype=torch.int64), None, None, None, None)  # type: ignore[arg-type]


def test_what_is_right_passes() -> None:
    assert float_tensor(np.eye(2)).shape == (2, 2)
