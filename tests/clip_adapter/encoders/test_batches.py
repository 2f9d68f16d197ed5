"""When the memory runs out the batch shrinks, the features stay, and nothing else is hidden."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from clip_adapter.encoders import EncoderError, load_encoder
from clip_adapter.encoders.forward_pass import Batches

ROWS = torch.arange(20.0).reshape(10, 2)
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)"),
]


class Tower:
    """Doubles its rows, and has room for so many at a time."""

    def __init__(self, room: int, error: Exception) -> None:
        self.room, self.error = room, error
        self.sizes: list[int] = []

    def __call__(self, rows: Tensor) -> Tensor:
        self.sizes.append(len(rows))
        if len(rows) > self.room:
            raise self.error
        return rows * 2


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:12])
def test_a_batch_that_does_not_fit_is_halved_and_encoded_again(error: Exception) -> None:
    batches, tower = Batches(8), Tower(room=3, error=error)
    assert torch.equal(batches.apply(tower, ROWS), ROWS * 2)
    assert tower.sizes == [8, 4, 2, 2, 2, 2, 2]


def test_the_smaller_size_is_remembered() -> None:
    batches, tower = Batches(8), Tower(room=4, error=MemoryError())
    batches.apply(tower, ROWS)
    tower.sizes.clear()
    batches.apply(tower, ROWS)
    assert tower.sizes == [4, 4, 4]
    assert batches.size == 4


def test_memory_that_runs_out_later_costs_that_batch_only() -> None:
    tower = Tower(room=4, error=MemoryError())

    def crowded(rows: Tensor) -> Tensor:
        tower.room = 4 if len(tower.sizes) < 2 else 2
        return tower(rows)

    assert torch.equal(Batches(4).apply(crowded, ROWS), ROWS * 2)
    assert tower.sizes == [4, 4, 4, 2]


def test_a_single_row_without_room_is_an_error_that_names_the_ways_out() -> None:
    batches = Batches(5)
    with pytest.raises(EncoderError, match=r"batch of one: .*smaller model") as refusal:
        batches.apply(Tower(room=0, error=MemoryError()), ROWS)
    assert isinstance(refusal.value.__cause__, MemoryError)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes cannot be multiplied"), EncoderError("fp16 overflows")]
)
def test_no_other_error_is_swallowed(error: Exception) -> None:
    tower = Tower(room=0, error=error)
    with pytest.raises(RuntimeError) as raised:
        Batches(4).apply(tower, ROWS)
    assert raised.value is error
    assert tower.sizes == [4]


@pytest.mark.parametrize("room", [1, 5])
def test_features_of_a_smaller_batch_are_the_same_but_for_rounding(
    tiny_model: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (21, 16, 16, 3), dtype=np.uint8)
    encoder = load_encoder(tiny_model, batch_size=16)
    expected = encoder.encode_images(pixels)
    encode: Callable[..., Tensor] = encoder.model.encode_image

    def refusing(batch: Tensor, *, normalize: bool) -> Tensor:
        if len(batch) > room:
            raise torch.OutOfMemoryError
        return encode(batch, normalize=normalize)

    monkeypatch.setattr(encoder.model, "encode_image", refusing)
    found = encoder.encode_images(pixels)
    assert encoder.batch_size <= room
    # float32 sums in another order: some 1e-6 of the size of a feature, which is about one.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
