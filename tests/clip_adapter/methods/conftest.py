"""Small few-shot tasks that a method can get partly right."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clip_adapter.methods import FewShotTask

DIM = 16
WORDS, LONGEST, TOKEN_WIDTH = 100, 12, 6
START, END = WORDS, WORDS + 1
FOLDER = "CLIP_ADAPTER_TEST_DATA"

MakeTask = Callable[..., FewShotTask]


class FakeTower:
    """A text tower of words: what a token says depends on its place, and words mix."""

    context_length, token_width = LONGEST, TOKEN_WIDTH

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.table = torch.randn(WORDS + 2, TOKEN_WIDTH, generator=generator)
        self.places = torch.randn(LONGEST, TOKEN_WIDTH, generator=generator)
        self.mix = 0.3 * torch.randn(TOKEN_WIDTH, 4 * DIM, generator=generator)
        self.out = torch.randn(4 * DIM, DIM, generator=generator)

    def embed(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.zeros(len(prompts), LONGEST, dtype=torch.int64)
        for row, prompt in zip(tokens, prompts, strict=True):
            words = prompt.replace(".", " .").split()
            numbers = [sum(word.encode()) * 7 % WORDS for word in words]
            row[: len(words) + 2] = torch.tensor([START, *numbers, END])
        return self.table[tokens], tokens

    def ends(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.argmax(dim=1)

    def encode(self, embeddings: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        read = torch.arange(LONGEST) <= self.ends(tokens)[:, None]
        placed = (embeddings * torch.sin(self.places) + self.places) * read[..., None]
        return torch.tanh(placed.sum(dim=1) @ self.mix) @ self.out


TOWER = FakeTower()


def _make_task(
    *, seed: int = 0, shots: int = 2, n_classes: int = 3, n_val: int = 8, logit_scale: float = 20.0
) -> FewShotTask:
    """Noisy features around class centres, and prototypes that know the centres vaguely.

    The text side depends on the number of classes alone: tasks of one number share it.
    """
    centres = np.random.default_rng(n_classes).normal(size=(2, n_classes, DIM))
    generator = np.random.default_rng([seed, shots])
    train_labels = generator.permutation(np.repeat(np.arange(n_classes), shots))
    val_labels = np.resize(np.arange(n_classes), n_val)

    def features(labels: np.ndarray) -> np.ndarray:
        noisy = centres[0][labels] + 0.8 * generator.normal(size=(len(labels), DIM))
        single: np.ndarray = noisy.astype(np.float32)
        return single

    return FewShotTask(
        train_features=features(train_labels),
        train_labels=train_labels,
        val_features=features(val_labels),
        val_labels=val_labels,
        prompt_features=(centres[0] + centres[1]).astype(np.float32)[:, None],
        logit_scale=logit_scale,
        class_names=tuple(f"class {number}" for number in range(n_classes)),
        shots=shots,
        seed=seed,
        text_tower=TOWER,
    )


def _permute_classes(task: FewShotTask, order: Sequence[int]) -> FewShotTask:
    number_of = np.argsort(order)
    return replace(
        task,
        train_labels=number_of[task.train_labels],
        val_labels=number_of[task.val_labels],
        prompt_features=task.prompt_features[list(order)],
        class_names=tuple(task.class_names[number] for number in order),
    )


@pytest.fixture(scope="session")
def make_task() -> MakeTask:
    """Make a task; the same arguments make the same one."""
    return _make_task


@pytest.fixture(scope="session")
def permute_classes() -> Callable[[FewShotTask, Sequence[int]], FewShotTask]:
    """The same task with its classes in another order."""
    return _permute_classes


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """Raw features that no task was fitted to."""
    return np.random.default_rng(99).normal(size=(20, DIM)).astype(np.float32)


@pytest.fixture(scope="session", name="flowers")
def _flowers() -> dict[str, np.ndarray]:
    """Real CLIP ViT-B/32 features of Flowers102, for tests marked `shared_data`."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        pytest.skip(f"{FOLDER} names no folder with clip-vit-b-32/oxford_flowers.npz")
    path = Path(folder) / "clip-vit-b-32" / "oxford_flowers.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
