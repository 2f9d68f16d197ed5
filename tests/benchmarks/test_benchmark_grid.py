"""The two sides of the training benchmark do the same work."""

import numpy as np
import pytest
import torch

from benchmarks.arithmetic import TrainingSize
from benchmarks.few_shot import random_images
from benchmarks.grid_sides import EPOCHS, RATIOS, SEEDS, train_plainly, train_stacked
from benchmarks.imagenet_size import train_imagenet_size

WIDTH, SHARE = 32, 0.02


@pytest.mark.slow
def test_both_sides_end_with_the_same_logits() -> None:
    threads = torch.get_num_threads()
    stacked = train_stacked(WIDTH, share=SHARE)
    for seed in SEEDS:
        plain = train_plainly(WIDTH, seed=seed, threads=threads, share=SHARE)
        assert len(plain.scores) == len(EPOCHS) * len(RATIOS)
        for key, scores in plain.scores.items():
            # Logits up to 100 in float32 after at most 20 steps.
            np.testing.assert_allclose(stacked.scores[key], scores, atol=0.01)


def test_random_images_resemble_each_other_as_images_do_to_clip() -> None:
    features = random_images(0, width=512, classes=10, images=160).features
    directions = torch.nn.functional.normalize(features, dim=1)
    cosines = directions @ directions.T
    assert cosines.mean().item() == pytest.approx(0.8, abs=0.03)


def test_the_arithmetic_is_that_of_five_wide_products_or_three() -> None:
    # Width 8, 2 hidden, batch irrelevant: a wide product is 32 operations an image.
    few = TrainingSize(images=4, width=8, classes=3, epochs=10)
    many = TrainingSize(images=40, width=8, classes=3, epochs=1)
    assert few.flops_of_loop() == many.flops_of_loop() == 40 * (5 * 32 + 2 * 48)
    assert few.flops_needed() == 40 * (3 * 32 + 16 + 2 * 48)
    assert many.flops_needed() == many.flops_of_loop()


@pytest.mark.slow
def test_an_adapter_of_imagenets_size_trains() -> None:
    seconds, gigaflops = train_imagenet_size(epochs=1)
    assert seconds > 0
    assert gigaflops > 0
