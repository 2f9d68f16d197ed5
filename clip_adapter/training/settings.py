"""How long and how fast an adapter trains."""

from dataclasses import dataclass
from typing import Literal

from clip_adapter.errors import ClipAdapterError

__all__ = ["SettingsError", "TrainingSettings"]

LARGEST = 1e15
"""Far beyond sense; the product of two still fits into float32, as torch demands."""
LARGEST_COUNT = 2**31 - 1
"""What a column of the run store holds."""


class SettingsError(ClipAdapterError, ValueError):
    """A setting outside the range it is defined for."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Optimiser, schedule and length of one adapter's training.

    The learning rate falls to zero over all steps along half a cosine. Batch size and epochs by
    shots are those of CoOp (Zhou et al. 2022, https://arxiv.org/abs/2109.01134, section 4.1),
    on whose trainer CLIP-Adapter was built; AdamW at 1e-3 is ours: it needs no tuning per
    encoder, while plain SGD at one rate suits only features of one norm.

    Attributes:
        epochs: passes over the few-shot images; None means 50 for 1 shot, 100 for 2 and 4 shots,
            200 beyond.
        batch_size: images a step.
        learning_rate: at the first step.
        weight_decay: decoupled, as in AdamW.

    Raises:
        SettingsError: for a number outside its range, NaN and infinity included.
    """

    optimizer: Literal["adamw"] = "adamw"
    epochs: int | None = None
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2

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
        if not 0 < self.learning_rate <= LARGEST:
            message = (
                f"learning_rate is {self.learning_rate}; expected more than 0, at most {LARGEST:g}"
            )
            raise SettingsError(message)

    def epochs_for(self, shots: int) -> int:
        """The number of epochs at so many labelled images a class."""
        if self.epochs is not None:
            return self.epochs
        return 50 if shots == 1 else 100 if shots <= 4 else 200
