"""The leaderboard as a person reads it."""

from io import StringIO
from typing import Any

from rich.console import Console

from clip_adapter.cli.summaries import Score, accuracy_table, leaderboard_table
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
        "model": "a model",
        "method": method,
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


def test_settings_of_one_method_are_told_apart_as_compare_knows_them() -> None:
    wide = row("clip-adapter", 1, 0.6, None) | {"settings_fingerprint": "ab" * 32}
    narrow = row("clip-adapter", 1, 0.5, None) | {"settings_fingerprint": "cd" * 32}
    lines = drawn([wide, narrow, row("gda", 1, 0.4, None)], width=80).splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("clip-adapter", "gda"))] == [
        "clip-adapter@abababab",
        "clip-adapter@cdcdcdcd",
        "gda",
    ]
    assert "METHOD@...: one of several settings" in " ".join(lines)
    assert "METHOD@" not in drawn([row("gda", 1, 0.4, None)], width=80)


def test_title_and_caption_are_as_wide_as_the_terminal() -> None:
    lines = drawn([row("gda", 1, 0.5, None)], width=120).splitlines()
    assert lines[0] == "eurosat with a model: test accuracy, %"
    assert lines[-1].endswith("is chosen on test images, which are read once")


def test_a_title_cannot_steer_a_terminal() -> None:
    hostile = row("gda", 1, 0.5, None) | {"model": "[red]\x1b[2J"}
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


def test_choices_of_images_are_told_apart_in_words() -> None:
    own = row("gda", 4, 0.5, None)
    rows = [
        own,
        {**own, "image_choice": "budget:50"},
        {**own, "image_choice": "published:abcdef0123"},
    ]
    text = drawn(rows, width=200)
    names = [line.rpartition("  ")[0].strip() for line in text.splitlines() if "gda" in line]
    assert names == ["gda", "gda, budget of 50 images", "gda, published images abcdef01"]
    assert "the shots of a budget are the mean number a class" in text
