"""Settings of a training by gradient descent: recipes, and what is set of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from clip_adapter.errors import SettingsError

Optimizer = Literal["sgd", "adam", "adamw"]
RecipeName = Literal["paper", "fast"]
Number = TypeVar("Number", int, float)

LARGEST = 1e15
"""Largest number of a setting; the product of two still fits into float32."""
LARGEST_COUNT = 2**31 - 1
"""Largest number that a column of the run store holds."""
LENGTHS = (0.1, 0.25, 0.5, 1.0)
"""Fractions of its epochs after which a training may stop, where nothing else is set."""
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
        lengths: fractions of the epochs after which the training may stop, in ascending order.
    """

    optimizer: Optimizer
    learning_rate: float
    weight_decay: float
    epochs: tuple[tuple[int, int], ...]
    batch_size: int
    momentum: float = 0.0
    warmup_epochs: int = 0
    schedule: Literal["epochs", "steps"] = "steps"
    lengths: tuple[float, ...] = LENGTHS

    def epochs_for(self, shots: int) -> int:
        """Passes over the images at some number of labelled images a class."""
        return value_at(shots, self.epochs)


def value_at(shots: int, values: Sequence[tuple[int, Number]]) -> Number:
    """The value at some number of labelled images a class.

    Args:
        shots: labelled images a class.
        values: pairs of a number of shots and the value up to it, in ascending order; the last also
            counts for more shots.

    >>> value_at(3, ((1, 50), (4, 100), (16, 200)))
    100
    """
    return next((value for most, value in values if shots <= most), values[-1][1])


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training with the value of every setting.

    Attributes:
        recipe: name of the recipe.
        optimizer: sgd, adam, or adamw.
        epochs: passes over the images that the schedule of the learning rate is made for.
        batch_size: images in a step.
        learning_rate: learning rate of the first step after the warm-up.
        weight_decay: weight decay of the optimizer.
        momentum: momentum of SGD.
        warmup_epochs: epochs at a constant learning rate of 1e-5 before the schedule.
        schedule: "epochs" or "steps", after which the learning rate falls along half a cosine.
        lengths: fractions of the epochs after which the training may stop.
        stopped_epoch: number of epochs after which it stops; None for all.
    """

    recipe: RecipeName
    optimizer: Optimizer
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    momentum: float
    warmup_epochs: int
    schedule: Literal["epochs", "steps"]
    lengths: tuple[float, ...] = (1.0,)
    stopped_epoch: int | None = None

    @property
    def visited_epochs(self) -> int:
        """Number of epochs until the training stops."""
        return self.epochs if self.stopped_epoch is None else self.stopped_epoch

    def epoch_of(self, length: float) -> int:
        """The number of epochs that a length is, at least one unless the length is 0."""
        return epoch_of(length, self.epochs)

    @property
    def distinct_lengths(self) -> tuple[float, ...]:
        """The lengths that are different numbers of epochs, see `distinct_lengths`."""
        return distinct_lengths(self.lengths, self.epochs)

    def stopping_at(self, length: float) -> "Training":
        """The same training that stops after a fraction of its epochs."""
        return replace(self, stopped_epoch=self.epoch_of(length))

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
            "stopped_epoch": self.visited_epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "momentum": self.momentum,
        }


def epoch_of(length: float, epochs: int) -> int:
    """The number of epochs that a length is, at least one unless the length is 0.

    >>> epoch_of(0.25, 10), epoch_of(0.01, 10), epoch_of(0.0, 10)
    (2, 1, 0)
    """
    return max(1, round(length * epochs)) if length else 0


def distinct_lengths(lengths: Sequence[float], epochs: int) -> tuple[float, ...]:
    """The last of the lengths that are one number of epochs, for each number.

    >>> distinct_lengths((0.0, 0.1, 0.25, 0.5, 1.0), 3)
    (0.0, 0.25, 0.5, 1.0)
    """
    return tuple({epoch_of(length, epochs): length for length in lengths}.values())


def check_lengths(lengths: Sequence[float]) -> None:
    """Return if there are lengths, all of them fractions.

    Raises:
        SettingsError: there is none, or one is below 0, above 1 or NaN.
    """
    if not lengths or not all(0 <= length <= 1 for length in lengths):
        message = f"lengths is {tuple(lengths)}; expected one or more numbers from 0 to 1"
        raise SettingsError(message)


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
        lengths: fractions of the epochs among which the images of model selection choose how long to
            train, along one training; None for those of the recipe, or for all epochs where the
            epochs are set. At 0 the start is tried as well.

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
    lengths: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.lengths is not None:
            check_lengths(self.lengths)
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
            lengths=self._lengths(recipe),
        )

    def _lengths(self, recipe: Recipe) -> tuple[float, ...]:
        if self.lengths is not None:
            return self.lengths
        return recipe.lengths if self.epochs is None else (1.0,)


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
