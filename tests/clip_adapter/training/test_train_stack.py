"""Many adapters in one tensor program end where each would have ended alone."""

import math
from dataclasses import replace

import pytest
import torch

from clip_adapter.adapters import ResidualAdapter, StackedAdapters, logits
from clip_adapter.training import SettingsError, StackedData, Training, train_adapters

DIM, N_CLASSES, N_IMAGES = 16, 3, 11
# 11 images in batches of 4: the last one is smaller.
SETTINGS = Training(
    recipe="fast",
    optimizer="adamw",
    epochs=5,
    batch_size=4,
    learning_rate=1e-2,
    weight_decay=1e-2,
    momentum=0.0,
    warmup_epochs=0,
    schedule="steps",
)
PAPER = replace(
    SETTINGS,
    recipe="paper",
    optimizer="sgd",
    learning_rate=2e-3,
    weight_decay=5e-4,
    momentum=0.9,
    warmup_epochs=1,
    schedule="epochs",
)
SET_OF_ADAPTER = (0, 0, 1, 1, 2)
RATIOS = (0.1, 0.9, 0.0, 0.5, 1.0)


def three_sets(dtype: torch.dtype = torch.float64) -> StackedData:
    """In double precision what remains of a difference is not rounding amplified by AdamW."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, N_IMAGES, DIM, generator=generator, dtype=dtype)
    return StackedData(
        features=features,
        labels=torch.arange(N_IMAGES).remainder(N_CLASSES).expand(3, N_IMAGES),
        prototypes=torch.randn(N_CLASSES, DIM, generator=generator, dtype=dtype),
        logit_scale=10.0,
        set_of_adapter=torch.tensor(SET_OF_ADAPTER),
        seeds=(5, 6, 7),
    )


def only(data: StackedData, number: int) -> StackedData:
    """One of the sets, for one adapter."""
    return StackedData(
        features=data.features[number : number + 1],
        labels=data.labels[number : number + 1],
        prototypes=data.prototypes,
        logit_scale=data.logit_scale,
        set_of_adapter=torch.tensor([0]),
        seeds=[data.seeds[number]],
    )


def untrained() -> list[ResidualAdapter]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return [ResidualAdapter(DIM, residual_ratio=ratio).double() for ratio in RATIOS]


def optimizer_of(adapter: ResidualAdapter, training: Training) -> torch.optim.Optimizer:
    if training.optimizer == "adamw":
        decay = training.weight_decay
        return torch.optim.AdamW(adapter.parameters(), lr=1.0, weight_decay=decay)
    return torch.optim.SGD(
        adapter.parameters(),
        lr=1.0,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )


def loop(adapter: ResidualAdapter, data: StackedData, training: Training) -> list[float]:
    """Plain training of one adapter on one set, as a textbook has it; its loss in each epoch."""
    images, labels = data.features[0], data.labels[0]
    order = torch.Generator().manual_seed(data.seeds[0])
    optimizer = optimizer_of(adapter, training)
    curve = []
    for epoch in range(training.epochs):
        losses = 0.0
        batches = torch.randperm(N_IMAGES, generator=order).split(training.batch_size)
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = training.learning_rate_at(epoch, step / len(batches))
            scores = logits(adapter(images[batch]), data.prototypes, data.logit_scale)
            loss = torch.nn.functional.cross_entropy(scores, labels[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses += loss.item() * len(batch)
        curve.append(losses / N_IMAGES)
    return curve


@pytest.mark.parametrize("training", [SETTINGS, PAPER], ids=["adamw", "sgd"])
def test_every_adapter_of_a_stack_ends_where_a_plain_loop_ends(training: Training) -> None:
    data, stack = three_sets(), StackedAdapters.stack(untrained())
    curves = train_adapters(stack, data, training)
    for number, (found, expected) in enumerate(zip(stack.unstack(), untrained(), strict=True)):
        curve = loop(expected, only(data, SET_OF_ADAPTER[number]), training)
        # 15 steps of double precision rounding; the unstacked copies and the curve are float32.
        for name, weight in found.state_dict().items():
            torch.testing.assert_close(
                weight, expected.state_dict()[name], atol=1e-7, rtol=1e-6, check_dtype=False
            )
        assert curves[:, number].tolist() == pytest.approx(curve, rel=1e-5)


def test_training_lowers_the_loss_of_every_adapter_that_can_move() -> None:
    stack = StackedAdapters.stack(untrained())
    curves = train_adapters(stack, three_sets(), replace(SETTINGS, epochs=30))
    assert curves.shape == (30, len(RATIOS))
    moves = torch.tensor([ratio > 0 for ratio in RATIOS])
    assert (curves[-1, moves] < curves[0, moves]).all()


def test_an_adapter_of_ratio_zero_keeps_its_loss() -> None:
    stack = StackedAdapters.stack(untrained())
    curves = train_adapters(stack, three_sets(), replace(SETTINGS, epochs=3))
    still = curves[:, RATIOS.index(0.0)].tolist()
    assert still == pytest.approx([still[0]] * 3, rel=1e-5)  # a mean of float32, reordered


def test_the_first_loss_is_that_of_the_untrained_adapter() -> None:
    data = three_sets()
    one_batch = replace(SETTINGS, batch_size=N_IMAGES, epochs=1)
    curves = train_adapters(StackedAdapters.stack(untrained()), data, one_batch)
    for number, adapter in enumerate(untrained()):
        own = SET_OF_ADAPTER[number]
        scores = logits(adapter(data.features[own]), data.prototypes, data.logit_scale)
        expected = torch.nn.functional.cross_entropy(scores, data.labels[own]).item()
        assert curves[0, number].item() == pytest.approx(expected, rel=1e-5)  # kept as float32


def test_progress_names_the_adapters_that_went_through_each_epoch() -> None:
    told: list[int] = []
    stack = StackedAdapters.stack(untrained())
    train_adapters(stack, three_sets(), replace(SETTINGS, epochs=4), progress=told.append)
    assert told == [len(RATIOS)] * 4


def test_training_leaves_the_global_generator_alone() -> None:
    stack = StackedAdapters.stack(untrained())
    before = torch.random.get_rng_state()
    train_adapters(stack, three_sets(), replace(SETTINGS, epochs=1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_absurd_learning_rate_is_said_to_diverge() -> None:
    absurd = replace(SETTINGS, learning_rate=1e8, epochs=10)
    stack = StackedAdapters.stack([adapter.float() for adapter in untrained()])
    with pytest.raises(SettingsError, match=r"models .* lower the learning rate"):
        train_adapters(stack, three_sets(torch.float32), absurd)


def test_weights_lost_in_the_very_last_step_are_seen() -> None:
    # There is one step, and the loss is taken before it.
    absurd = replace(SETTINGS, learning_rate=1e15, weight_decay=1e15, batch_size=N_IMAGES, epochs=1)
    stack = StackedAdapters.stack([adapter.float() for adapter in untrained()])
    with torch.no_grad():
        stack.down[2] = 1e10
    with pytest.raises(SettingsError, match=r"1 of 5 models \(first: number 2\)"):
        train_adapters(stack, three_sets(torch.float32), absurd)


def test_one_diverging_adapter_is_named_by_its_number() -> None:
    adapters = untrained()
    with torch.no_grad():
        adapters[3].down.weight.fill_(math.nan)
    stack = StackedAdapters.stack(adapters)
    with pytest.raises(SettingsError, match=r"1 of 5 models \(first: number 3\)"):
        train_adapters(stack, three_sets(), replace(SETTINGS, epochs=1))
