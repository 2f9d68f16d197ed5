"""The few-shot training sets that many models learn from at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StackedData:
    """T few-shot training sets of equal size, and which of them each of G adapters learns from.

    Attributes:
        features: raw image features, view after view where there are several.
        labels: class numbers of the images, in the order of each view.
        prototypes: one text feature a class, shared by all adapters.
        logit_scale: CLIP's inverse temperature.
        set_of_adapter: for each adapter the number of its training set.
        seeds: one a training set; it fixes the order in which the images are visited.
    """

    features: Float[Tensor, "t rows d"]
    labels: Int[Tensor, "t n"]
    prototypes: Float[Tensor, "c d"]
    logit_scale: float
    set_of_adapter: Int[Tensor, " g"]
    seeds: Sequence[int]

    @property
    def n_images(self) -> int:
        """Images of each set."""
        return self.labels.shape[1]

    @property
    def views(self) -> int:
        """Rows of features an image."""
        return self.features.shape[1] // self.n_images

    def batch(self, rows: Int[Tensor, "t b"]) -> tuple[Float[Tensor, "g b d"], Int[Tensor, "g b"]]:
        """The features and labels of some rows, for each adapter those of its set."""
        rows = rows.to(self.features.device)
        sets = torch.arange(len(self.seeds), device=rows.device)[:, None]
        features = self.features[sets, rows][self.set_of_adapter]
        return features, self.labels[sets, rows % self.n_images][self.set_of_adapter]

    def part(self, members: slice) -> "StackedData":
        """What some of the adapters learn from, and no set that none of them does."""
        used, numbers = torch.unique(self.set_of_adapter[members], return_inverse=True)
        return StackedData(
            features=self.features[used],
            labels=self.labels[used],
            prototypes=self.prototypes,
            logit_scale=self.logit_scale,
            set_of_adapter=numbers,
            seeds=[self.seeds[number] for number in used.tolist()],
        )
