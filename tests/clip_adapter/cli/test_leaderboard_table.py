"""The leaderboard as a person reads it."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from clip_adapter.cli.summaries import Score, accuracy_table, leaderboard_table, text_table
from clip_adapter.shots import ALL_SHOTS


def row(  # a row of the leaderboard
    method: str,
    shots: int,
    mean: float,
    interval: float | None,
    *,
    seeds: int = 3,
    draws: int = 3,
) -> dict[str, Any]:
    return {
        "dataset": "eurosat",
        "encoder_name": "a model",
        "method": method,
        "name": method,
        "settings_fingerprint": method,
        "shots": shots,
        "accuracy_mean": mean,
        "accuracy_ci95": interval,
        "seeds": seeds,
        "draws": draws,
        "image_choice": "own",
    }


def drawn(rows: list[dict[str, Any]], *, width: int) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(leaderboard_table(rows))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_five_shots_and_a_long_name_fit_into_80_columns() -> None:
    shots = [row("cross-modal-probe", shots, 0.573, 0.123) for shots in (1, 2, 4, 8, 16)]
    text = drawn([row("zero-shot", 0, 0.408, None), *shots], width=80)
    assert text.count("57.3 ± 12") == 5
    assert "40.8" in text
    assert "…" not in text


def test_narrow_intervals_keep_their_decimal() -> None:
    text = drawn([row("gda", 1, 0.5, 0.0994), row("lp++", 1, 0.4, 0.0996)], width=80)
    assert "50.0 ±9.9" in text
    assert "40.0 ± 10" in text


def test_seeds_that_train_on_the_same_images_have_no_interval() -> None:
    rows = [row("gda", 16, 0.5, None, draws=1), row("lp++", 16, 0.4, 0.02, draws=2)]
    text = drawn(rows, width=200)
    assert "50.0 same" in text
    assert "40.0 ±2.0" in text
    assert "same: all seeds train on the same images" in text
    assert "same" not in drawn([row("gda", 16, 0.5, None, seeds=1, draws=1)], width=120)


def test_all_shots_are_the_last_column() -> None:
    heading = drawn([row("gda", ALL_SHOTS, 0.5, None), row("gda", 16, 0.4, None)], width=80)
    assert 0 < heading.index("16 shots") < heading.index("all shots")


def test_settings_of_one_method_are_told_apart_in_words_and_none_is_cut() -> None:
    names = [
        "clip-adapter (ratio 0.2, published splits, publication 01234567)",
        "clip-adapter (6 ratios 0.1 to 1, selection held-out shots)",
    ]
    rows = [
        row("clip-adapter", shots, 0.6, 0.123) | {"name": name}
        for name in names
        for shots in (1, 2, 4, 8, 16)
    ]
    text = drawn(rows, width=80)
    assert "…" not in text
    assert text.count("60.0 ± 12") == 10
    words = " ".join(line[:25].strip() for line in text.splitlines())
    assert all(word in words for name in names for word in name.split())
    assert "publication: first digits of `image_choice`" in " ".join(text.split())
    assert "publication" not in drawn([row("gda", 1, 0.4, None)], width=80)


def test_title_and_caption_are_as_wide_as_the_terminal() -> None:
    lines = drawn([row("gda", 1, 0.5, None)], width=120).splitlines()
    assert lines[0] == "eurosat with a model: test accuracy, %"
    assert lines[-1].endswith("is chosen on test images, which are read once")


def test_a_title_cannot_steer_a_terminal() -> None:
    hostile = row("gda", 1, 0.5, None) | {"encoder_name": "[red]\x1b[2J"}
    assert r"[red]\x1b[2J" in drawn([hostile], width=80)


def test_a_name_that_is_too_long_is_folded_and_no_number_is_cut() -> None:
    name = "a picture of the digit {}, which somebody has written by hand."
    scores = {name: dict.fromkeys((1, 2, 4, 8, 16), Score(0.573, 0.123))}
    console = Console(file=StringIO(), width=80)
    console.print(accuracy_table(scores, heading="prompts", title="x", caption="y"))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert text.count("57.3 ± 12") == 5
    assert "…" not in text


def test_shots_of_a_budget_are_explained() -> None:
    of_budget = row("gda", 4, 0.5, None) | {"image_choice": "budget:50"}
    said = "the shots of a budget are the mean number a class"
    assert said in drawn([of_budget], width=200)
    assert said not in drawn([row("gda", 4, 0.5, None)], width=200)


def test_words_of_a_narrow_column_are_not_broken() -> None:
    name = "clip-adapter (ratio 0.2, published splits, publication 01234567)"
    row = ("imagenet-sketch", "domain shift", name, "16 shots", "71.2 ± 12.3", "51.2 ± 10.0")
    header = ("target", "protocol", "method", "shots", "on source", "on target")
    console = Console(file=StringIO(), width=80)
    console.print(text_table(header, [row], title="x", caption="y", n_words=4))
    assert isinstance(console.file, StringIO)
    words = console.file.getvalue().split()
    assert set(" ".join(row).split()) <= set(words)


def test_many_numbers_of_shots_are_several_tables_that_fold_no_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "cross-modal-probe (selection held-out shots)"
    scores = {name: {shots: Score(0.8, 0.01) for shots in (0, 1, 2, 4, 5, 8, 16)}}
    console = Console(file=StringIO(), width=80)
    console.print(accuracy_table(scores, heading="method", title="", caption=""))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert all(word in text.split() for word in name.split())
    assert text.count("80.0 ±1.0") == 7
    assert max(map(len, text.splitlines())) <= 80
