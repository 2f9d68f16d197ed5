"""Gradients written out by hand: the same adapters as autograd and torch's optimisers train."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest
import torch

from clip_adapter.adapters import ResidualAdapter, StackedAdapters, logits
from clip_adapter.training import StackedData, Training, train_adapters
from clip_adapter.training.manual_grad import AdapterGroup
from clip_adapter.training.settings import Optimizer

N_CLASSES, N_IMAGES = 3, 11
RATIOS = (0.1, 0.9, 0.0, 0.5, 1.0)
SET_OF_ADAPTER = (0, 0, 1, 1, 2)
# 11 images in batches of 4: the last one is smaller. Decay and rate are high enough to matter.
PAPER = Training(
    recipe="paper",
    optimizer="sgd",
    epochs=12,
    batch_size=4,
    learning_rate=2e-2,
    weight_decay=1e-2,
    momentum=0.9,
    warmup_epochs=1,
    schedule="epochs",
)
NARROW, WIDE = 8, 24  # fewer numbers an image than images, and more
SHAPES = pytest.mark.parametrize(
    ("dim", "output_activation", "views"),
    [(WIDE, True, 1), (NARROW, True, 1), (WIDE, False, 1), (WIDE, True, 2), (WIDE, True, 3)],
)


def three_sets(dim: int, *, views: int = 1, dtype: torch.dtype = torch.float64) -> StackedData:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, views * N_IMAGES, dim, generator=generator, dtype=torch.float64)
    prototypes = torch.randn(N_CLASSES, dim, generator=generator, dtype=torch.float64)
    return StackedData(
        features=(features + 0.5).to(dtype),
        labels=torch.arange(N_IMAGES).remainder(N_CLASSES).expand(3, N_IMAGES),
        prototypes=prototypes.to(dtype),
        logit_scale=10.0,
        set_of_adapter=torch.tensor(SET_OF_ADAPTER),
        seeds=(5, 6, 7),
    )


def untrained(
    dim: int, *, ratios: Sequence[float] = RATIOS, output_activation: bool = True
) -> list[ResidualAdapter]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return [
            ResidualAdapter(dim, residual_ratio=ratio, output_activation=output_activation).double()
            for ratio in ratios
        ]


TEXTBOOK: dict[str, Callable[[Iterable[torch.nn.Parameter], Training], torch.optim.Optimizer]] = {
    "sgd": lambda weights, training: torch.optim.SGD(
        weights, lr=1.0, momentum=training.momentum, weight_decay=training.weight_decay
    ),
    "adam": lambda weights, training: torch.optim.Adam(
        weights, lr=1.0, weight_decay=training.weight_decay
    ),
    "adamw": lambda weights, training: torch.optim.AdamW(
        weights, lr=1.0, weight_decay=training.weight_decay
    ),
}


def textbook(
    adapter: ResidualAdapter, data: StackedData, training: Training, *, number: int
) -> list[float]:
    """A plain loop over one set: module, autograd, torch's optimiser; the loss of each epoch."""
    images, labels = data.features[number], data.labels[number]
    generator = torch.Generator().manual_seed(data.seeds[number])
    optimizer = TEXTBOOK[training.optimizer](adapter.parameters(), training)
    curve = []
    for epoch in range(training.epochs):
        optimizer.param_groups[0]["lr"] = training.learning_rate_at(epoch)
        order, losses = torch.randperm(N_IMAGES, generator=generator), 0.0
        if data.views > 1:
            order = order + N_IMAGES * torch.randint(data.views, (N_IMAGES,), generator=generator)
        for rows in torch.split(order, training.batch_size):
            scores = logits(adapter(images[rows]), data.prototypes, data.logit_scale)
            loss = torch.nn.functional.cross_entropy(scores, labels[rows % N_IMAGES])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses += loss.item() * len(rows)
        curve.append(losses / N_IMAGES)
    return curve


@SHAPES
def test_it_ends_where_a_textbook_loop_ends(
    *, dim: int, output_activation: bool, views: int
) -> None:
    data = three_sets(dim, views=views)
    stack = StackedAdapters.stack(untrained(dim, output_activation=output_activation))
    curves = train_adapters(stack, data, PAPER)
    expected = untrained(dim, output_activation=output_activation)
    for index, adapter in enumerate(expected):
        curve = textbook(adapter, data, PAPER, number=SET_OF_ADAPTER[index])
        assert curves[:, index].tolist() == pytest.approx(curve, rel=1e-10)
        # 36 steps of double precision rounding.
        for name, weight in (("down", stack.down), ("up", stack.up)):
            wanted = getattr(adapter, name).weight.T
            torch.testing.assert_close(weight[index], wanted, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@SHAPES
def test_adam_ends_where_a_textbook_loop_ends(
    *, dim: int, output_activation: bool, views: int, optimizer: Optimizer
) -> None:
    training = replace(PAPER, optimizer=optimizer, momentum=0.0)
    data = three_sets(dim, views=views)
    stack = StackedAdapters.stack(untrained(dim, output_activation=output_activation))
    curves = train_adapters(stack, data, training)
    for index, adapter in enumerate(untrained(dim, output_activation=output_activation)):
        curve = textbook(adapter, data, training, number=SET_OF_ADAPTER[index])
        assert curves[:, index].tolist() == pytest.approx(curve, rel=1e-8)
        # Adam divides by the size of a gradient, which may be small itself.
        for name, weight in (("down", stack.down), ("up", stack.up)):
            wanted = getattr(adapter, name).weight.T
            torch.testing.assert_close(weight[index], wanted, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_another_momentum_ends_where_a_textbook_loop_ends(momentum: float) -> None:
    data, training = three_sets(WIDE), replace(PAPER, momentum=momentum)
    stack = StackedAdapters.stack(untrained(WIDE))
    train_adapters(stack, data, training)
    (adapter,) = untrained(WIDE, ratios=RATIOS[:1])
    textbook(adapter, data, training, number=0)
    torch.testing.assert_close(stack.up[0], adapter.up.weight.T, atol=1e-11, rtol=1e-9)


def test_in_single_precision_it_ends_where_a_textbook_loop_ends() -> None:
    data = three_sets(WIDE, dtype=torch.float32)
    stack = StackedAdapters.stack([adapter.float() for adapter in untrained(WIDE)])
    train_adapters(stack, data, PAPER)
    for index, adapter in enumerate(untrained(WIDE)):
        textbook(adapter.float(), data, PAPER, number=SET_OF_ADAPTER[index])
        # Rounding of 1e-7, 36 steps, weights of 0.1 to 1.
        torch.testing.assert_close(stack.up[index], adapter.up.weight.T, atol=1e-5, rtol=1e-4)


def test_a_decay_that_flips_weights_is_left_to_torch_and_still_right() -> None:
    data, training = three_sets(WIDE), replace(PAPER, learning_rate=0.3, weight_decay=2.0)
    stack = StackedAdapters.stack(untrained(WIDE))
    train_adapters(stack, data, training)
    (adapter,) = untrained(WIDE, ratios=RATIOS[:1])
    textbook(adapter, data, training, number=0)
    torch.testing.assert_close(stack.up[0], adapter.up.weight.T, atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("dim", [NARROW, WIDE])
def test_an_adapter_does_not_notice_with_whom_it_trains(dim: int) -> None:
    data, together = three_sets(dim), StackedAdapters.stack(untrained(dim))
    parted = StackedAdapters.stack(untrained(dim))
    curves = train_adapters(together, data, PAPER)
    for first, last in ((0, 1), (1, 4), (4, 5)):
        group = AdapterGroup(parted, data, members=slice(first, last), training=PAPER)
        found = group.train(after_epoch=lambda: None)
        torch.testing.assert_close(found, curves[:, first:last])
    torch.testing.assert_close(parted.up, together.up)
    torch.testing.assert_close(parted.down, together.down)


def test_another_order_of_adapters_is_another_order_of_results() -> None:
    data, order = three_sets(WIDE), [3, 0, 4, 2, 1]
    stack = StackedAdapters.stack(untrained(WIDE))
    adapters = untrained(WIDE)
    permuted = StackedAdapters.stack([adapters[number] for number in order])
    curves = train_adapters(stack, data, PAPER)
    found = train_adapters(
        permuted, replace(data, set_of_adapter=data.set_of_adapter[order]), PAPER
    )
    torch.testing.assert_close(found, curves[:, order])
    torch.testing.assert_close(permuted.up, stack.up[order])


def test_another_order_of_classes_changes_no_weight() -> None:
    data, order = three_sets(WIDE), torch.tensor([2, 0, 1])
    stack, permuted = (StackedAdapters.stack(untrained(WIDE)) for _ in range(2))
    train_adapters(stack, data, PAPER)
    renamed = replace(data, labels=order.argsort()[data.labels], prototypes=data.prototypes[order])
    train_adapters(permuted, renamed, PAPER)
    torch.testing.assert_close(permuted.up, stack.up)


def test_the_norm_of_a_feature_changes_nothing() -> None:
    data = three_sets(WIDE)
    norms = torch.rand(3, N_IMAGES, 1, dtype=torch.float64) + 0.5
    stack, scaled = (StackedAdapters.stack(untrained(WIDE)) for _ in range(2))
    curves = train_adapters(stack, data, PAPER)
    found = train_adapters(scaled, replace(data, features=data.features * norms), PAPER)
    torch.testing.assert_close(found, curves)
    torch.testing.assert_close(scaled.down, stack.down)


def test_ratio_zero_leaves_logits_bit_for_bit_at_zero_shot() -> None:
    data = three_sets(WIDE, dtype=torch.float32)
    stack = StackedAdapters.stack([adapter.float() for adapter in untrained(WIDE)])
    train_adapters(stack, data, PAPER)
    frozen = stack.unstack()[RATIOS.index(0.0)]
    zero_shot = logits(data.features[1], data.prototypes, data.logit_scale)
    assert torch.equal(logits(frozen(data.features[1]), data.prototypes, 10.0), zero_shot)


def test_an_adapter_that_says_nothing_stays_silent_and_finite() -> None:
    # At ratio 1 an adapter of dead units gives the null vector, which has no direction.
    data = three_sets(WIDE)
    stack = StackedAdapters.stack(untrained(WIDE, ratios=[1.0] * len(RATIOS)))
    with torch.no_grad():
        stack.up[2] = -stack.up[2].abs()
    curves = train_adapters(stack, data, PAPER)
    assert curves[:, 2].tolist() == pytest.approx([math.log(N_CLASSES)] * PAPER.epochs)
