"""Tensors from the arrays of a task."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def float_tensor(values: Float[np.ndarray, "*shape"]) -> Float[Tensor, "*shape"]:
    """Copy an array to a float32 tensor.

    Features may have half or double precision, be read-only or a view with a negative stride, which
    torch refuses, warns of, or shares.
    """
    return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
