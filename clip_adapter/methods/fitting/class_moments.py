"""Sums of features that ridge regression and Gaussian discriminants are computed from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.errors import DataError
from clip_adapter.methods.task import FewShotTask


def unit_rows(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Raw features as features of length 1, in double precision."""
    import torch  # the statistics themselves need none

    from clip_adapter.methods.tensors import float_tensor

    return torch.nn.functional.normalize(float_tensor(features), dim=-1).double().numpy()


def directions(task: FewShotTask, views: int = 0) -> Float[np.ndarray, "n d"]:
    """The training images or their views as features of length 1, in double precision."""
    return unit_rows(task.training_rows(views))


def one_hot(labels: Int[np.ndarray, " n"], n_classes: int) -> Float[np.ndarray, "n c"]:
    """1 in the column of an image's class, else 0."""
    members = np.zeros((len(labels), n_classes))
    members[np.arange(len(labels)), labels] = 1
    return members


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassMoments:
    """Sufficient statistics of features of length 1: an image more or less is added or subtracted.

    `ridge_to_text.ridge_weights` and `gda.gaussian_weights` compute their classifiers from them.

    An edit rounds each entry of `F'F` once, which changes it by at most 2^-52 n in the Frobenius norm,
    where n is the largest number of features: m edits are off by 2^-52 m n at most. Sums over
    n + m features that are computed anew have a bound of that kind as well.

    Attributes:
        counts: number of features of each class.
        sums: sum of the features of each class.
        gram: `F'F` of all features F.
    """

    counts: Float[np.ndarray, " c"]
    sums: Float[np.ndarray, "c d"]
    gram: Float[np.ndarray, "d d"]

    @classmethod
    def of(
        cls, rows: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], n_classes: int
    ) -> "ClassMoments":
        """The statistics of features and their class numbers."""
        members = one_hot(labels, n_classes)
        return cls(counts=members.sum(axis=0), sums=members.T @ rows, gram=rows.T @ rows)

    @classmethod
    def of_task(cls, task: FewShotTask, views: int = 0) -> "ClassMoments":
        """The statistics of a task's training images or their views."""
        labels = np.tile(task.train_labels, max(1, views))
        return cls.of(directions(task, views), labels, len(task.class_names))

    def add(self, rows: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> "ClassMoments":
        """The statistics with further features.

        Args:
            rows: features of length 1, as `unit_rows` makes them.
            labels: their class numbers.

        Raises:
            DataError: a label has no class.
        """
        return self._changed(rows, labels, sign=1)

    def remove(
        self, rows: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
    ) -> "ClassMoments":
        """The statistics without some of the features that they hold.

        That a class holds these very features cannot be seen in sums: only their number is checked.

        Args:
            rows: features of length 1, as they were added.
            labels: class numbers under which they were added.

        Raises:
            DataError: a label has no class, or a class holds fewer features.
        """
        return self._changed(rows, labels, sign=-1)

    def _changed(self, rows: np.ndarray, labels: np.ndarray, *, sign: int) -> "ClassMoments":
        n_classes = len(self.counts)
        if len(labels) and not 0 <= labels.min() <= labels.max() < n_classes:
            raise DataError(
                f"the labels run from {labels.min()} to {labels.max()}: expected 0 to {n_classes - 1}"
            )
        change = ClassMoments.of(rows, labels, n_classes)
        counts = self.counts + sign * change.counts
        if (counts < 0).any():
            label = int(counts.argmin())
            raise DataError(
                f"{change.counts[label]:.0f} features are to be removed from class {label}, which holds "
                f"{self.counts[label]:.0f}: remove those that were added"
            )
        sums, gram = self.sums + sign * change.sums, self.gram + sign * change.gram
        # What is known to be zero or symmetric is made so: rounding would add up.
        sums[counts == 0] = 0.0
        gram = (gram + gram.T) / 2 if counts.any() else np.zeros_like(gram)
        return ClassMoments(counts=counts, sums=sums, gram=gram)

    def add_classes(self, n_classes: int) -> "ClassMoments":
        """The statistics with further classes, without features, behind the others."""
        return ClassMoments(
            counts=np.pad(self.counts, (0, n_classes)),
            sums=np.pad(self.sums, ((0, n_classes), (0, 0))),
            gram=self.gram,
        )

    def remove_class(self, label: int) -> "ClassMoments":
        """The statistics without a class, whose features were removed before; later ones move up.

        Raises:
            DataError: there is no such class, or it holds features, whose part of `F'F` is not known.
        """
        if not 0 <= label < len(self.counts):
            raise DataError(f"there is no class {label}: expected 0 to {len(self.counts) - 1}")
        if self.counts[label]:
            raise DataError(
                f"class {label} holds {self.counts[label]:.0f} features: remove them first"
            )
        return ClassMoments(
            counts=np.delete(self.counts, label),
            sums=np.delete(self.sums, label, axis=0),
            gram=self.gram,
        )

    @property
    def means(self) -> Float[np.ndarray, "c d"]:
        """Mean feature of each class."""
        means: Float[np.ndarray, "c d"] = self.sums / self.counts[:, None]
        return means
