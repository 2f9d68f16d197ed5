import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from clip_adapter.runs import query

Command = Callable[..., Any]


def test_extract_says_what_it_encoded_and_the_second_time_that_it_was_nothing(
    extract: Command,
) -> None:
    first, second = extract(), extract()
    assert "90 images encoded" in first.out
    assert "0 images encoded, 90 reused, 0 prompts encoded" in second.out


def test_an_unreadable_image_is_set_aside_and_counted(extract: Command, photos: Path) -> None:
    (photos / "red" / "000.jpg").write_bytes(b"broken")
    outcome = extract()
    assert outcome.code == 0
    assert "1 quarantined" in outcome.out
    assert "red/000.jpg" in outcome.err


def test_train_prints_a_leaderboard(train: Command) -> None:
    outcome = train()
    assert outcome.code == 0
    assert "5 runs trained" in outcome.out
    for word in ("zero-shot", "linear-probe", "clip-adapter", "1 shot", "±"):
        assert word in outcome.out


def test_the_summary_of_train_is_json_for_programs(train: Command) -> None:
    summary = json.loads(train("--json").out)
    assert (summary["encoded"], summary["runs_trained"], summary["runs_on_record"]) == (90, 5, 0)
    assert {row["method"] for row in summary["leaderboard"]} == {
        "zero-shot",
        "linear-probe",
        "clip-adapter",
    }


def test_a_method_that_fails_ends_in_one_line(train: Command) -> None:
    outcome = train(
        "--set", "clip-adapter.learning_rate=1e15", "--set", "clip-adapter.weight_decay=1e15"
    )
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("error: clip-adapter: ")
    assert "Traceback" not in outcome.err


def test_short_classes_are_an_error_or_left_out_or_give_what_they_have(
    command: Command, photos: Path, root: Path, tiny_model: str, put_photos: Callable[..., Path]
) -> None:
    put_photos(photos, "a-few", range(100, 103), colour="blue")
    asked = ("--root", root, "--model", tiny_model, "--methods", "zero-shot,gda", "--seeds", "1")
    train = partial(command, "train", f"imagefolder:{photos}", *asked, "--shots")
    assert train("1").code == 0
    refused = train("4")
    assert refused.code == 1
    assert "class 'a few' has too few images for 4 shots: 1 distinct" in refused.err
    for words in ("use --shots 1 (", "--short-classes skip", "--short-classes take-all"):
        assert words in refused.err

    taken = train("4", "--short-classes", "take-all")
    assert (taken.code, "class 'a few' trains on 1 of 4 images" in taken.err) == (0, True)
    skipped = train("4", "--short-classes", "skip")
    assert (skipped.code, "class 'a few' is left out" in skipped.err) == (0, True)
    assert "3 short class" in skipped.out
    runs = query(root, "SELECT len(class_names) AS classes, n_train FROM runs WHERE shots = 4")
    assert {tuple(row.values()) for row in runs.to_pylist()} == {(4, 13), (3, 12)}
