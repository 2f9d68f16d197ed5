"""What cannot be done is said in one message, with a non-zero exit and nothing half-written."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def assert_refused(outcome: Any, *words: str) -> None:
    assert outcome.code not in {0, None}
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "clip-adaptr"], ["'clip-adaptr'", "'clip-adapter'"]),
        (["--set", "clip-adapter.epoch=2"], ["'epoch'", "'epochs'"]),
        (["--set", "clip-adaptr.epochs=2"], ["'clip-adaptr'", "'clip-adapter'"]),
        (["--set", "clip-adapter.reduction=many"], ["reduction", "many"]),
        (["--set", "coop.recipe=fast"], ["coop, which is not trained", "add it to --methods"]),
        (["--set", "epochs=2"], ["METHOD.SETTING=VALUE"]),
        (["--shots", "one"], ["'one'", "whole numbers"]),
        (["--shots", "2,0"], ["0 is too small", "1 or more"]),
        (["--seeds", "-1"], ["-1 is too small", "0 or more"]),
        (["--seeds", "3-1"], ["'3-1'", "like 1-10"]),
        (["--seeds", "1-2000"], ["'1-2000'", "1000 seeds at most"]),
        (["--seeds", "1-" + "9" * 5_000], ["whole numbers"]),
        (["--max-bad-fraction", "7"], ["--max-bad-fraction", "1"]),
        (["--model", "glyph"], ["'glyph'", "'glyphs'"]),
        (["--model", "ViT-B-32:openia"], ["'openia'", "'openai'"]),
        (["--model", "ViT-B-32"], ["names no weights"]),
        (["--model", "local-dir:/nowhere"], ["/nowhere", "open_clip_config.json"]),
        (["--model", "ViT-B-32:/nowhere/weights.safetensors"], ["/nowhere/weights.safetensors"]),
        (["--images", "/nowhere"], ["--images"]),
        (["--shotz", "1"], ["--shotz", "--shots"]),
    ],
    ids=" ".join,
)
def test_a_wrong_option_of_train_is_explained(
    train: Command, root: Path, arguments: list[str], words: list[str]
) -> None:
    assert_refused(train(*arguments), *words)
    assert not root.exists()


def test_an_unknown_command_names_the_nearest(command: Command) -> None:
    assert_refused(command("trian"), "trian", "train")


def test_an_unknown_dataset_names_the_nearest(command: Command, root: Path) -> None:
    assert_refused(command("extract", "digit", "--root", root), "'digit'", "'digits'")
    assert not root.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["extract"],
        ["reproduce", "residual-ratio"],
        ["cache", "why", "--dataset"],
        ["cache", "export", "--to", "x.npz", "--dataset"],
    ],
    ids=" ".join,
)
def test_a_folder_typed_plainly_is_named_as_an_imagefolder(
    command: Command,
    root: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(photos.parent)
    root.mkdir()
    words = [f"{photos.name!r} is a folder", f"write imagefolder:{photos.name}\n"]
    assert_refused(command(*arguments, photos.name, "--root", root), *words)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("folder", ["nowhere", "empty", "class-without-images", "one-class"])
def test_a_folder_without_a_dataset_is_explained(
    command: Command, root: Path, tmp_path: Path, tiny_model: str, folder: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "class-without-images" / "cat").mkdir(parents=True)
    (tmp_path / "one-class" / "cat").mkdir(parents=True)
    (tmp_path / "one-class" / "cat" / "a.jpg").touch()
    place = tmp_path / folder
    assert_refused(
        command("train", f"imagefolder:{place}", "--root", root, "--model", tiny_model), str(place)
    )
    assert not root.exists()


def test_a_class_with_fewer_images_than_shots_is_named(
    train: Command, root: Path, photos: Path
) -> None:
    for number in range(3, 30):
        (photos / "green" / f"{number:03d}.jpg").unlink()
    assert_refused(train("--shots", "4"), "'green'", "4 shots", "use --shots ")
    assert not (root / "runs").exists()
    assert not list(root.rglob("*.tmp*"))


def test_a_folder_of_broken_images_is_refused(extract: Command, root: Path, photos: Path) -> None:
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"broken")
    assert_refused(extract(), "90 of the 90 files")
    assert not list(root.rglob("*.parquet"))


def test_a_missing_root_is_explained(command: Command, root: Path) -> None:
    assert_refused(command("sql", "SELECT 1", "--root", root), str(root), "--root")
    assert not root.exists()


def test_a_root_that_prefect_would_misread_is_refused_to_a_flow_alone(
    train: Command, tmp_path: Path
) -> None:
    place = tmp_path / "wh?at"
    assert_refused(train("--root", place, "--prefect"), "choose a root without")
    assert not place.exists()
    assert train("--root", place).code == 0


def test_a_refused_command_has_written_nothing(command: Command, root: Path) -> None:
    assert_refused(command("extract", "digits", "--model", "nope", "--root", root), "glyphs")
    assert not root.exists()


@pytest.mark.parametrize("below", ["", "store"])
def test_a_root_that_is_a_file_is_explained(train: Command, root: Path, below: str) -> None:
    root.write_text("not a folder")
    refused = train("--root", root / below)
    assert_refused(refused, f"{root} is no folder", "expected a folder", "CLIP_ADAPTER_ROOT")
    assert refused.err.count("\n") == 1


def test_a_root_that_cannot_be_written_to_is_explained(train: Command) -> None:
    refused = train("--root", "/proc/store")
    assert_refused(refused, "the root /proc/store", "/proc is there", "expected a folder", "--root")
    assert refused.err.count("\n") == 1


def test_a_full_disk_is_named_with_what_is_safe_and_what_to_do(
    extract: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    assert_refused(
        extract(),
        "No space left on device: 90 rows of dataset-index",
        f"could not be written to {root}",
        "stored before is complete and unchanged",
        "free space on that disk",
    )
    monkeypatch.undo()
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_root_that_nobody_named_is_left_with_the_folder(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip-adapter-store").write_text("not a folder")
    assert_refused(train("--root", "clip-adapter-store"), "work in another folder")


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("SELECT * FROM leaderbord", ["leaderbord", "leaderboard"]),
        ("SELECT acuracy_mean FROM leaderboard", ["acuracy_mean", "accuracy_mean"]),
        ("DROP VIEW runs", ["SELECT"]),
        ("SELEC 1", ["SELEC"]),
    ],
)
def test_a_question_that_cannot_be_answered_is_explained(
    command: Command, root: Path, question: str, words: list[str]
) -> None:
    root.mkdir()
    assert_refused(command("sql", question, "--root", root), *words)


def test_a_question_that_takes_too_long_is_stopped(command: Command, root: Path) -> None:
    root.mkdir()
    endless = "SELECT count(*) FROM range(1000000000000) WHERE range % 7 = 3"
    assert_refused(
        command("sql", endless, "--max-seconds", "0.2", "--root", root), "stopped after 0.2 s"
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 4 TiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["numpy", "Python", "torch"],
)
def test_a_lack_of_memory_anywhere_is_one_line(
    command: Command, root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("clip_adapter.pipeline.extract.extract", fail)
    outcome = command("extract", "digits", "--root", root)
    assert_refused(outcome, "error: not enough memory (", "close other programs")
    assert outcome.err.count("\n") == 1


def test_an_error_that_is_no_lack_of_memory_is_not_called_so(
    command: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        message = "mat1 and mat2 shapes cannot be multiplied"
        raise RuntimeError(message)

    monkeypatch.setattr("clip_adapter.pipeline.extract.extract", fail)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        command("extract", "digits", "--root", root)
