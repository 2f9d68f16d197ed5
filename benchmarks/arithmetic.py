"""How many floating-point operations a training takes, counted on paper."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainingSize:
    """What decides on the arithmetic of training one adapter.

    Elementwise work is left out: it is less than a hundredth.

    Attributes:
        images: of the training set.
        width: of the features; a quarter of it is hidden.
    """

    images: int
    width: int
    classes: int
    epochs: int

    @property
    def visits(self) -> int:
        """Images times epochs."""
        return self.images * self.epochs

    def flops_of_loop(self) -> float:
        """Two products a direction and projection, but none for the features' own gradient."""
        return self.visits * (5 * self._wide + 2 * self._class_scores)

    def flops_needed(self) -> float:
        """What is left where few rows span the down-projection's gradients."""
        if self.images > self.width:
            return self.flops_of_loop()
        spanned = 2 * self.images * self.width / 4
        return self.visits * (3 * self._wide + spanned + 2 * self._class_scores)

    @property
    def _wide(self) -> float:
        return 2 * self.width * self.width / 4

    @property
    def _class_scores(self) -> float:
        return 2 * self.width * self.classes
