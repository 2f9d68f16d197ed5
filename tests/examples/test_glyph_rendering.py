"""The pictures and captions that the built-in encoder is trained on."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.train_glyphs.bank import GlyphBank, build_bank
from examples.train_glyphs.captions import captions_of, draw_captions, truth
from examples.train_glyphs.evaluate import zero_shot_accuracy, zero_shot_exam
from examples.train_glyphs.fit import Settings, Step, fit
from examples.train_glyphs.fonts import (
    CHARACTERS,
    HELD_OUT,
    STRANGE_ALPHABETS,
    STYLES,
    draw,
    styles,
)
from examples.train_glyphs.objective import contrastive_loss, same_drawing_loss
from examples.train_glyphs.render import Distortion, Rendering, draw_ink, render
from examples.train_glyphs.towers import load_towers, new_towers, read_config, save_towers

SMALL_RENDERING = Rendering(image_size=32)


@pytest.fixture(scope="module")
def bank() -> GlyphBank:
    return build_bank(styles(held_out=False)[:2])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_held_out_style_is_trained_on() -> None:
    assert {style.name for style in styles(held_out=True)} == HELD_OUT
    assert not {style.name for style in styles(held_out=False)} & HELD_OUT


def test_every_style_draws_each_of_its_characters_inside_the_canvas() -> None:
    for style in (*STYLES, *STRANGE_ALPHABETS):
        drawn = dict(draw(style))
        assert "".join(drawn) == style.characters
        for ink in drawn.values():
            assert ink.any()
            assert not ink[[0, -1]].any()
            assert not ink[:, [0, -1]].any()


def test_characters_of_one_style_look_different() -> None:
    pictures = [ink.tobytes() for _, ink in draw(STYLES[0])]
    assert len(set(pictures)) == len(CHARACTERS)


def test_the_field_measures_the_distance_to_the_edge(bank: GlyphBank) -> None:
    inside = bank.outlines < 0
    assert inside.flatten(1).any(dim=1).all()
    assert not inside[:, [0, -1]].any()
    # Half-widths of the canvas: nothing is farther from the glyph than its corners.
    assert bank.outlines.max() < 2**0.5


def test_more_weight_draws_more_ink(bank: GlyphBank) -> None:
    rows = bank.rows_of("3")
    light, bold = (
        draw_ink(bank, rows, Distortion(weight=(weight, weight)), generator=seeded(0))
        for weight in (0.0, 0.06)
    )
    assert (light.mean(dim=(1, 2, 3)) < bold.mean(dim=(1, 2, 3))).all()


def test_an_undistorted_glyph_fills_the_height_it_is_given(bank: GlyphBank) -> None:
    plain = Distortion(
        rotation=0, shear=0, stretch=0, bends=(), bend_grids=(), weight=(0, 0), height=(0.5, 0.5)
    )
    ink = draw_ink(bank, bank.rows_of("E"), plain, generator=seeded(0))[:, 0]
    inked_lines = (ink.amax(dim=2) > 0.5).sum(dim=1)
    # An edge may fall on either side of a line of pixels.
    assert ((inked_lines - ink.shape[1] / 2).abs() <= 2).all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_pictures_are_decided_by_the_seed_and_stay_in_range(bank: GlyphBank, seed: int) -> None:
    rows = torch.arange(0, 124, 7)
    first = render(bank, rows, SMALL_RENDERING, generator=seeded(seed))
    again = render(bank, rows, SMALL_RENDERING, generator=seeded(seed))
    assert torch.equal(first, again)
    assert first.shape == (len(rows), 1, 32, 32)
    assert first.min() >= 0
    assert first.max() <= 1


def test_another_seed_draws_another_picture(bank: GlyphBank) -> None:
    rows = bank.rows_of("3")
    first, other = (render(bank, rows, SMALL_RENDERING, generator=seeded(seed)) for seed in (0, 1))
    assert not torch.equal(first, other)


def test_no_picture_is_blank(bank: GlyphBank) -> None:
    rows = torch.arange(len(bank.characters))
    pictures = render(bank, rows, SMALL_RENDERING, generator=seeded(0)).flatten(1)
    assert (pictures.amax(dim=1) - pictures.amin(dim=1) > 0.1).all()


@pytest.mark.parametrize("character", list(CHARACTERS))
def test_every_caption_of_a_character_is_true_of_it(character: str) -> None:
    assert all(character in caption.characters for caption in captions_of(character))


def test_a_digit_is_called_by_word_and_by_figure() -> None:
    texts = {caption.text for caption in captions_of("3")}
    assert {"a picture of the digit three.", "a photo of the number 3."} <= texts


def test_the_letter_c_is_true_of_both_cases_and_the_capital_letter_of_one() -> None:
    of_capital = {caption.text: caption.characters for caption in captions_of("C")}
    assert of_capital["the letter C."] == {"C", "c"}
    assert of_capital["the capital letter C."] == {"C"}


def test_the_truth_table_follows_the_captions() -> None:
    captions = draw_captions(seeded(0))
    table = truth(torch.arange(len(CHARACTERS)), captions)
    assert table.diagonal().all()
    assert table[:10].sum() == 10


def test_the_loss_is_near_zero_only_when_true_pairs_score_highest() -> None:
    true = torch.eye(4, dtype=torch.bool)
    assert contrastive_loss(50.0 * true, true) < 1e-6
    assert contrastive_loss(50.0 * true.roll(1, 0), true) > 10


def test_the_loss_shares_its_target_among_all_true_captions() -> None:
    true = torch.tensor([[True, True, False]])
    even = contrastive_loss(torch.tensor([[5.0, 5.0, -50.0]]), true)
    one_sided = contrastive_loss(torch.tensor([[9.0, 1.0, -50.0]]), true)
    assert even < one_sided


def test_features_of_the_same_drawings_in_order_lose_least() -> None:
    features = torch.eye(4)
    assert same_drawing_loss(features, features) < 0.01
    assert same_drawing_loss(features, features.roll(1, 0)) > 5


@pytest.mark.slow
def test_a_few_steps_of_training_lower_the_loss_and_repeat_exactly(bank: GlyphBank) -> None:
    short = Settings(steps=6, batch_size=64, warmup_steps=1)
    first, again = _losses(bank, short), _losses(bank, short)
    assert first == again
    assert first[-1] < first[0]


def _losses(bank: GlyphBank, short: Settings) -> list[float]:
    model = new_towers(read_config(), seed=0)
    steps: list[Step] = []
    fit(model, bank, SMALL_RENDERING, settings=short, report=steps.append)
    return [step.loss for step in steps]


def test_saved_towers_come_back_through_open_clip(tmp_path: Path) -> None:
    model = new_towers(read_config(), seed=1).eval()
    save_towers(model, tmp_path)
    loaded = load_towers(tmp_path)
    # Half precision keeps 11 bits of each weight.
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=1e-3, atol=1e-6)


def test_an_exam_asks_for_every_character_in_every_held_out_font() -> None:
    exam = zero_shot_exam(CHARACTERS[:10], 32)
    assert exam.captions[3] == "a picture of the digit three."
    assert exam.answers.bincount().tolist() == [24 * len(HELD_OUT)] * 10


def test_untrained_towers_read_no_better_than_by_chance() -> None:
    exam = zero_shot_exam(CHARACTERS[:10], 32)
    model = new_towers(read_config(), seed=0).eval()
    assert abs(zero_shot_accuracy(model, exam) - 0.1) < 0.1
