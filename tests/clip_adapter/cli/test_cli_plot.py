"""The plot command, and the functions for notebooks that it calls."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_adapter import connect, plots
from clip_adapter.errors import UnknownNameError
from clip_adapter.pipeline.adapted_features import adapted_features
from clip_adapter.report import figures

Command = Callable[..., Any]


@pytest.fixture
def trained(train: Command, root: Path) -> Path:
    """A store with zero-shot and CLIP-Adapter on ninety photos."""
    assert train("--methods", "zero-shot,clip-adapter").code == 0
    return root


def files_of(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_figures_of_real_runs_are_written_and_the_store_is_unchanged(
    trained: Path, command: Command, tmp_path: Path
) -> None:
    before = files_of(trained)
    for figure, suffix, start in (
        ("accuracy", "pdf", b"%PDF-"),
        ("per-class-change", "svg", b"<svg"),
        ("reliability", "PNG", b"\x89PNG"),
        ("features", "json", b"{"),
    ):
        file = tmp_path / "figures" / f"{figure}.{suffix}"
        outcome = command(
            "plot", figure, "--dataset", "photos", "--to", file, "--root", trained, "--dpi", "72"
        )
        assert (outcome.code, outcome.err) == (0, "")
        assert str(file) in outcome.out
        assert file.read_bytes().startswith(start)
    file = tmp_path / "x.svg"
    outcome = command(
        "plot", "accuracy", "--to", file, "--dataset", "photos", "--root", trained, "--json"
    )
    assert json.loads(outcome.out) == {
        "figure": "accuracy",
        "dataset": "photos",
        "file": str(file),
    }
    assert files_of(trained) == before


def test_a_notebook_gets_charts_with_the_numbers_of_sql(trained: Path) -> None:
    _check_accuracy(trained)
    _check_features(trained)


def _check_accuracy(trained: Path) -> None:
    chart = plots.accuracy("photos", root=trained)
    with connect(trained) as database:
        rows = database.query("FROM leaderboard").to_pylist()
    spec = figures.specification(chart)
    drawn = [row for data in spec["datasets"].values() for row in data if "accuracy" in row]
    found = {(row["name"], row["x"]): row["y"] for row in drawn}
    wanted = {(row["method"], row["shots"]): 100 * row["accuracy_mean"] for row in rows}
    assert found == pytest.approx(wanted, rel=1e-9)
    shown = chart._repr_mimebundle_()
    assert shown["image/svg+xml"] == figures.svg(chart)
    assert not any("html" in kind for kind in shown)  # which would load scripts

    changes = figures.specification(plots.per_class_change("photos", root=trained))
    with connect(trained) as database:
        recalls = database.query("SELECT class_name, method, recall FROM per_class").to_pylist()
    of_method = {(row["class_name"], row["method"]): 100 * row["recall"] for row in recalls}
    pairs = [row for data in changes["datasets"].values() for row in data if "after" in row]
    drawn_recalls = {
        (row["name"], method): row[state]
        for row in pairs
        for state, method in (("before", "zero-shot"), ("after", "clip-adapter"))
    }
    assert drawn_recalls == pytest.approx(of_method, rel=1e-9)


def _check_features(trained: Path) -> None:
    points = adapted_features("photos", root=trained, max_images=8)
    assert adapted_features("photos", root=trained, max_images=8).equals(points)
    rows = points.to_pylist()
    counts = {
        (state, kind): sum(row["state"] == state and row["kind"] == kind for row in rows)
        for state in ("before", "after")
        for kind in ("image", "text")
    }
    n_classes = len({row["class_name"] for row in rows if row["kind"] == "text"})
    assert counts == {
        ("before", "image"): 8,
        ("after", "image"): 8,
        ("before", "text"): n_classes,
        ("after", "text"): n_classes,
    }
    before, after = (
        np.array(
            [
                (row["x"], row["y"])
                for row in rows
                if (row["state"], row["kind"]) == (state, "image")
            ]
        )
        for state in ("before", "after")
    )
    # One centre for both states: the axes are the same.
    assert np.concatenate([before, after]).mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert not np.allclose(before, after)
    with connect(trained) as database:
        run = database.query("SELECT run_id FROM current_runs WHERE method = 'zero-shot'")[
            "run_id"
        ][0]
    with pytest.raises(ValueError, match="zero-shot leaves image features as they are"):
        adapted_features("photos", classifier=f"run:{run}", root=trained)


def test_unknown_names_and_missing_runs_are_said_with_what_to_do(
    trained: Path, command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "x.svg"
    place = ("--dataset", "photos", "--root", trained)
    refused = command("plot", "acuracy", "--to", file, *place)
    assert refused.code == 1
    assert "did you mean 'accuracy'" in refused.err
    refused = command("plot", "accuracy", "--to", file, *place, "--methods", "clip-adaptor")
    assert "did you mean 'clip-adapter'" in refused.err
    refused = command("plot", "accuracy", "--to", file, "--dataset", "photo", "--root", trained)
    assert "did you mean 'photos'" in refused.err
    for unknown, arguments in (
        ("model", {"model": "glyph"}),
        ("number of shots", {"shots": 3}),
    ):
        with pytest.raises(UnknownNameError, match=unknown):
            plots.confusion("photos", root=trained, **arguments)
    assert not file.exists()
    other = ("--to", tmp_path / "x.svg", "--dataset", "photos", "--root", trained)
    refused = command("plot", "champions", *other, "--shots", "4")
    assert "--shots is no option of the figure champions" in refused.err
    refused = command("plot", "confusion", *other, "--shots", "1,2")
    assert "--shots: confusion shows one, and 2 are given" in refused.err
    for draw, advice in (
        (plots.base_to_new, "--protocol base-to-new"),
        (plots.champions, "train with --promote"),
        (plots.study, "clip-adapter reproduce residual-ratio photos"),
    ):
        with pytest.raises(ValueError, match=advice):
            draw("photos", root=trained)


def test_other_files_and_sizes_are_refused_before_any_work(
    command: Command, root: Path, tmp_path: Path
) -> None:
    place = ("--dataset", "photos", "--root", root)  # there is no store
    for name, options, reason in (
        ("x.html", (), "x.html' ends in .html"),
        ("x", (), "has no ending"),
        ("x.png", ("--width", "3.25"), "3.25in, 84mm or 8.4cm"),
        ("x.png", ("--width", "1mm"), "expected a width"),
        ("x.png", ("--font-size", "99"), "expected a size"),
    ):
        refused = command("plot", "accuracy", "--to", tmp_path / name, *place, *options)
        assert refused.code != 0
        assert reason in refused.err
    assert list(tmp_path.glob("x*")) == []


def test_an_empty_store_says_how_to_begin(command: Command, root: Path, tmp_path: Path) -> None:
    root.mkdir()
    for figure in plots.FIGURES:
        refused = command(
            "plot", figure, "--to", tmp_path / "x.svg", "--dataset", "photos", "--root", root
        )
        assert refused.code == 1
        assert "no completed runs yet: run `clip-adapter demo`" in refused.err
