"""From the arrays of a task to tensors."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def float_tensor(values: Float[np.ndarray, "*shape"]) -> Float[Tensor, "*shape"]:
    """A float32 copy that torch may own.

    Features come in half or double precision, read-only or as a view with a negative stride;
    torch would refuse, warn, or share them.
    """
    return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
