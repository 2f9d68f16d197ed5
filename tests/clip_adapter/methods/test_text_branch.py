"""The text branch: a plain loop in the test."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from clip_adapter.methods import ClipAdapter, FewShotTask
from clip_adapter.methods.clip_adapter import recipes_for
from clip_adapter.training import TrainingSettings

MakeTask = Callable[..., FewShotTask]
PAPER = TrainingSettings(epochs=10, batch_size=4)
WARMUP = 1e-5


class PlainAdapter(nn.Module):
    """Equation 3 as one would write it in an afternoon, for the prototypes of one task."""

    def __init__(self, task: FewShotTask, *, ratio: float) -> None:
        super().__init__()
        dim = task.class_prototypes.shape[1]
        self.down = nn.Linear(dim, dim // 4, bias=False)
        self.up = nn.Linear(dim // 4, dim, bias=False)
        self.prototypes = torch.tensor(task.class_prototypes)
        self.logit_scale, self.ratio = task.logit_scale, ratio

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        adapted = torch.relu(self.up(torch.relu(self.down(self.prototypes))))
        weights = self.ratio * adapted + (1 - self.ratio) * self.prototypes
        directions = features / features.norm(dim=1, keepdim=True)
        cosines: torch.Tensor = directions @ (weights / weights.norm(dim=1, keepdim=True)).T
        return self.logit_scale * cosines


def plain_loop(task: FewShotTask, *, ratio: float) -> PlainAdapter:
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        model = PlainAdapter(task, ratio=ratio)
    images, labels = torch.tensor(task.train_features), torch.tensor(task.train_labels)
    settled = PAPER.resolve(recipes_for(task.shots), shots=task.shots)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=1.0, momentum=0.9, weight_decay=settled.weight_decay
    )
    visits = torch.Generator().manual_seed(task.seed)
    for epoch in range(settled.epochs):
        falling = settled.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / settled.epochs)) / 2
        optimizer.param_groups[0]["lr"] = WARMUP if epoch == 0 else falling
        for batch in torch.split(torch.randperm(len(images), generator=visits), 4):
            optimizer.zero_grad()
            torch.autograd.backward(
                nn.functional.cross_entropy(model(images[batch]), labels[batch])
            )
            optimizer.step()
    return model


@pytest.mark.parametrize("ratio", [0.2, 0.6, 1.0])
def test_a_text_adapter_ends_where_a_plain_loop_ends(
    make_task: MakeTask, pictures: np.ndarray, ratio: float
) -> None:
    # 10 images in batches of 4: the last one is smaller.
    task = make_task(shots=2, n_classes=5, seed=3)
    method = ClipAdapter(branch="text", text_residual_ratios=(ratio,), training=PAPER)
    (fitted,) = method.fit([task])
    model = plain_loop(task, ratio=ratio)
    with torch.no_grad():
        expected = model(torch.tensor(pictures)).numpy()
    # Thirty float32 steps, at a logit scale of 20.
    np.testing.assert_allclose(fitted.classifier.logits(pictures), expected, atol=1e-3)
    still = replace(method, text_residual_ratios=(0.0,)).fit([task])[0]
    assert not np.allclose(still.classifier.logits(pictures), expected, atol=1e-2)
