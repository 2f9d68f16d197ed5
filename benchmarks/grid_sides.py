"""Two ways to train the EuroSAT protocol's adapters, each for a process of its own."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.arithmetic import TrainingSize
from benchmarks.few_shot import (
    LOGIT_SCALE,
    FewShotImages,
    initial_adapter,
    paper_training,
    random_images,
)
from clip_adapter.adapters import ResidualAdapter, StackedAdapters, logits
from clip_adapter.training import StackedData, Training, train_adapters

CLASSES = 10
SEEDS = (0, 1, 2)
RATIOS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
EPOCHS: Mapping[int, int] = {1: 50, 2: 100, 4: 100, 8: 200, 16: 200}
"""By shots, as CoOp has them."""
TEST_IMAGES = 50
RATE_SIZE = 2048

Logits = dict[tuple[int, int, float], np.ndarray]
"""By shots, seed and ratio."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a side brings home.

    Attributes:
        seconds: of training alone.
        scores: logits of 50 test images, by shots, seed and ratio.
        gigaflops: a second, of a large matrix product in the same process.
    """

    seconds: float
    scores: Logits
    gigaflops: float


def train_plainly(width: int, *, seed: int, threads: int, share: float) -> Trained:
    """The loop people write: a module, autograd, torch's SGD, batches by index, one by one.

    Args:
        width: of the features.
        seed: whose 30 adapters are trained.
        threads: of torch.
        share: of the protocol's epochs.
    """
    torch.set_num_threads(threads)
    seconds, scores = 0.0, Logits()
    for shots, epochs in EPOCHS.items():
        images = random_images(seed, width=width, classes=CLASSES, images=shots * CLASSES)
        training = paper_training(_share_of(epochs, share))
        for ratio in RATIOS:
            adapter = initial_adapter(seed, width=width, residual_ratio=ratio)
            start = time.perf_counter()
            _loop(adapter, images, training, seed=seed)
            seconds += time.perf_counter() - start
            scores[shots, seed, ratio] = _test(adapter, images)
    return Trained(seconds=seconds, scores=scores, gigaflops=machine_gigaflops())


def train_stacked(width: int, *, share: float) -> Trained:
    """All 90 adapters with `train_stack`, the 18 of each number of shots in one call."""
    seconds, scores = 0.0, Logits()
    for shots, epochs in EPOCHS.items():
        sets = [
            random_images(seed, width=width, classes=CLASSES, images=shots * CLASSES)
            for seed in SEEDS
        ]
        adapters = [
            initial_adapter(seed, width=width, residual_ratio=ratio)
            for seed in SEEDS
            for ratio in RATIOS
        ]
        start = time.perf_counter()
        trained = _train_at_once(adapters, sets, paper_training(_share_of(epochs, share)))
        seconds += time.perf_counter() - start
        for number, adapter in enumerate(trained):
            seed = SEEDS[number // len(RATIOS)]
            key = shots, seed, adapter.residual_ratio
            scores[key] = _test(adapter, sets[number // len(RATIOS)])
    return Trained(seconds=seconds, scores=scores, gigaflops=machine_gigaflops())


def sizes_of_grid(width: int, *, share: float) -> list[TrainingSize]:
    """One adapter a number of shots."""
    return [
        TrainingSize(
            images=shots * CLASSES,
            width=width,
            classes=CLASSES,
            epochs=_share_of(epochs, share),
        )
        for shots, epochs in EPOCHS.items()
    ]


@contextmanager
def torch_as_it_comes() -> Iterator[None]:
    """Let processes started meanwhile wait for their threads as torch does by default."""
    policy = os.environ.pop("OMP_WAIT_POLICY", None)
    try:
        yield
    finally:
        if policy is not None:
            os.environ["OMP_WAIT_POLICY"] = policy


def _train_at_once(
    adapters: list[ResidualAdapter], sets: list[FewShotImages], training: Training
) -> list[ResidualAdapter]:
    data = StackedData(
        features=torch.stack([images.features for images in sets]),
        labels=torch.stack([images.labels for images in sets]),
        prototypes=sets[0].prototypes,
        logit_scale=LOGIT_SCALE,
        set_of_adapter=torch.arange(len(sets)).repeat_interleave(len(RATIOS)),
        seeds=SEEDS,
    )
    stack = StackedAdapters.stack(adapters)
    train_adapters(stack, data, training)
    return stack.unstack()


def _loop(
    adapter: ResidualAdapter, images: FewShotImages, training: Training, *, seed: int
) -> None:
    optimizer = torch.optim.SGD(
        adapter.parameters(),
        lr=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(training.epochs):
        optimizer.param_groups[0]["lr"] = training.learning_rate_at(epoch)
        order = torch.randperm(len(images.labels), generator=generator)
        for batch in torch.split(order, training.batch_size):
            scores = logits(adapter(images.features[batch]), images.prototypes, LOGIT_SCALE)
            loss = torch.nn.functional.cross_entropy(scores, images.labels[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()


@torch.no_grad()
def _test(adapter: ResidualAdapter, images: FewShotImages) -> np.ndarray:
    width = images.features.shape[1]
    test = random_images(1000, width=width, classes=CLASSES, images=TEST_IMAGES)
    return logits(adapter(test.features), images.prototypes, LOGIT_SCALE).numpy()


def _share_of(epochs: int, share: float) -> int:
    return max(1, round(epochs * share))


def machine_gigaflops() -> float:
    """Of the best of some products of 2048 x 2048, with all threads there are."""
    left, right = torch.randn(2, RATE_SIZE, RATE_SIZE)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - start)
    return 2 * RATE_SIZE**3 / min(seconds) / 1e9
