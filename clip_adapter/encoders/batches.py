"""Batches of one size, and of a smaller one once the memory has run out."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from clip_adapter.encoders.errors import EncoderMemoryError

# What torch's allocators say on the CPU (POSIX, Windows) and on MPS, as plain RuntimeErrors.
_SIGNS = ("can't allocate memory", "not enough memory", "mps backend out of memory")


@dataclass
class Batches:
    """Applies a tower to any number of rows, batch by batch, each filled up to one size.

    A matrix product of another size may round otherwise: with one size, a feature does not
    depend on what happened to be encoded with it. A batch that does not fit into memory is
    halved and encoded again; the smaller size is kept, and changes float32 features by some
    1e-6 of their size.

    Attributes:
        size: rows of a batch, until the memory runs out.
    """

    size: int

    def apply(
        self, forward: Callable[[Tensor], Tensor], inputs: Shaped[Tensor, "n ..."]
    ) -> Float[Tensor, "n d"]:
        """What `forward` makes of the rows, on the CPU.

        Raises:
            EncoderMemoryError: a single row does not fit.
        """
        done: list[Tensor] = []
        first = 0
        while first < len(inputs):
            part = inputs[first : first + self.size]
            try:
                features = forward(_filled(part, self.size))[: len(part)].cpu()
            except (RuntimeError, MemoryError) as error:
                self._shrink(error)
                continue
            done.append(features)
            first += len(part)
        return torch.cat(done)

    def _shrink(self, error: Exception) -> None:
        if not _is_out_of_memory(error):
            raise error
        if self.size == 1:
            message = (
                "the memory does not hold this model and a batch of one: close other programs, "
                "take a smaller model or precision, or another device"
            )
            raise EncoderMemoryError(message) from error
        self.size //= 2


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(sign in str(error).lower() for sign in _SIGNS)


def _filled(part: Tensor, size: int) -> Tensor:
    filling = part[:1].expand(size - len(part), *part.shape[1:])
    return torch.cat([part, filling])
