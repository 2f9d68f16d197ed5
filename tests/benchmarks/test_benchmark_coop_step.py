"""What the benchmark of CoOp's steps times are steps of CoOp."""

from pathlib import Path

import pytest

from benchmarks.coop_step import (
    BATCH,
    N_CONTEXT,
    STEPS_AN_EPOCH,
    class_names,
    coop_task,
    longest_prompt,
    seconds_of_steps,
)
from benchmarks.models import save_clip_of_text
from clip_adapter.encoders import BUILT_IN, load_encoder, text_tower


@pytest.mark.parametrize("classes", [10, 100])
def test_every_class_has_a_name_of_its_own_and_an_image(classes: int) -> None:
    task = coop_task(text_tower(load_encoder(BUILT_IN)), classes=classes)
    assert len(set(class_names(classes))) == classes
    assert set(task.train_labels.tolist()) == set(range(classes))
    assert len(task.train_labels) == BATCH * STEPS_AN_EPOCH


def test_all_epochs_but_the_first_are_timed() -> None:
    seconds = seconds_of_steps(BUILT_IN, classes=10, epochs=3)
    assert len(seconds) == 2
    assert min(seconds) > 0


def test_a_prompt_is_start_context_name_point_and_end() -> None:
    assert longest_prompt(BUILT_IN, classes=100) == 1 + N_CONTEXT + 2 + 1 + 1


@pytest.mark.slow
def test_the_large_tower_is_that_of_vit_b_32(tmp_path: Path) -> None:
    tower = text_tower(load_encoder(save_clip_of_text(tmp_path)))
    assert (tower.context_length, tower.token_width) == (77, 512)
    # Twelve layers, token and place embeddings, and the projection.
    parts = tower.parts
    layers = sum(each.numel() for each in parts.transformer.parameters())
    assert (len(parts.transformer.resblocks), layers) == (12, 12 * (12 * 512**2 + 13 * 512))
