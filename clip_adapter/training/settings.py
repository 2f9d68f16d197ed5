"""Settings of a training by gradient descent: recipes, and what is set of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from clip_adapter.errors import SettingsError

Optimizer = Literal["sgd", "adam", "adamw"]
RecipeName = Literal["paper", "fast"]
Number = TypeVar("Number", int, float)

LARGEST = 1e15
"""Largest number of a setting; the product of two still fits into float32."""
LARGEST_COUNT = 2**31 - 1
"""Largest number that a column of the run store holds."""
WARMUP_LEARNING_RATE = 1e-5
"""Learning rate of CoOp's warm-up epoch (https://arxiv.org/abs/2109.01134, section 4.1)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The training of a method as its paper describes it, or a faster one.

    Attributes:
        optimizer: sgd, adam, or adamw.
        learning_rate: learning rate of the first step after the warm-up.
        weight_decay: weight decay of the optimizer.
        epochs: pairs of a number of shots and the epochs up to it, in ascending order; the last
            also counts for more shots.
        batch_size: images in a step.
        momentum: momentum of SGD.
        warmup_epochs: epochs at a constant learning rate of 1e-5 before the schedule.
        schedule: "epochs" or "steps", after which the learning rate falls along half a cosine.
    """

    optimizer: Optimizer
    learning_rate: float
    weight_decay: float
    epochs: tuple[tuple[int, int], ...]
    batch_size: int
    momentum: float = 0.0
    warmup_epochs: int = 0
    schedule: Literal["epochs", "steps"] = "steps"

    def epochs_for(self, shots: int) -> int:
        """Passes over the images at some number of labelled images a class."""
        return next((epochs for most, epochs in self.epochs if shots <= most), self.epochs[-1][1])


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training with the value of every setting."""

    recipe: RecipeName
    optimizer: Optimizer
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    momentum: float
    warmup_epochs: int
    schedule: Literal["epochs", "steps"]

    def learning_rate_at(self, epoch: int, progress: float = 0.0) -> float:
        """The learning rate in an epoch of which the fraction `progress` is done.

        With `warmup_epochs` w it is 1e-5 before epoch w, then
        `learning_rate * (1 + cos(pi * (epoch - w) / epochs)) / 2`.
        """
        if epoch < self.warmup_epochs:
            return WARMUP_LEARNING_RATE
        done = epoch - self.warmup_epochs + (progress if self.schedule == "steps" else 0.0)
        return self.learning_rate * (1 + math.cos(math.pi * done / self.epochs)) / 2

    def settings(self) -> dict[str, float | int | str | bool]:
        """The settings that a run records, by name."""
        return {
            "recipe": self.recipe,
            "optimizer": self.optimizer,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "momentum": self.momentum,
        }


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """A recipe and settings that override it; None stands for the recipe's value.

    Attributes:
        recipe: "paper", as the method's authors train, or "fast", in a fraction of the time; the
            documentation of a method says at what loss of accuracy, if any.
        optimizer: sgd, adam, or adamw, whose weight decay is decoupled.
        epochs: passes over the few-shot images.
        batch_size: images in a step.
        learning_rate: learning rate of the first step after the warm-up.
        weight_decay: weight decay of the optimizer.
        momentum: momentum of SGD, below 1.

    Raises:
        SettingsError: for a number outside its range, NaN and infinity included.
    """

    recipe: RecipeName = "paper"
    optimizer: Optimizer | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    momentum: float | None = None

    def __post_init__(self) -> None:
        ranges = (
            ("epochs", 1, LARGEST_COUNT),
            ("batch_size", 1, LARGEST_COUNT),
            ("weight_decay", 0, LARGEST),
        )
        for name, smallest, largest in ranges:
            value = getattr(self, name)
            if value is not None and not smallest <= value <= largest:
                message = f"{name} is {value}; expected {smallest} or more, at most {largest:g}"
                raise SettingsError(message)
        if self.learning_rate is not None and not 0 < self.learning_rate <= LARGEST:
            message = (
                f"learning_rate is {self.learning_rate}; expected more than 0, at most {LARGEST:g}"
            )
            raise SettingsError(message)
        if self.momentum is not None and not 0 <= self.momentum < 1:
            message = f"momentum is {self.momentum}; expected 0 or more, below 1"
            raise SettingsError(message)

    def resolve(self, recipes: Mapping[str, Recipe], *, shots: int) -> Training:
        """The training that follows from a method's recipes by name and a number of shots."""
        recipe = recipes[self.recipe]
        return Training(
            recipe=self.recipe,
            optimizer=self.optimizer or recipe.optimizer,
            epochs=_given(self.epochs, recipe.epochs_for(shots)),
            batch_size=_given(self.batch_size, recipe.batch_size),
            learning_rate=_given(self.learning_rate, recipe.learning_rate),
            weight_decay=_given(self.weight_decay, recipe.weight_decay),
            momentum=_given(self.momentum, recipe.momentum),
            warmup_epochs=recipe.warmup_epochs,
            schedule=recipe.schedule,
        )


def _given(value: Number | None, otherwise: Number) -> Number:
    return otherwise if value is None else value


COOP_TRAINER = Recipe(
    optimizer="sgd",
    learning_rate=2e-3,
    weight_decay=5e-4,
    momentum=0.9,
    epochs=((1, 50), (4, 100), (16, 200)),
    batch_size=32,
    warmup_epochs=1,
    schedule="epochs",
)
"""The recipe of CoOp (Zhou et al. 2022, https://arxiv.org/abs/2109.01134, section 4.1), on which
CLIP-Adapter's authors built theirs."""
