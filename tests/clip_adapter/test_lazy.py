"""A package imports a lazy name on first access."""

import subprocess
import sys
from importlib import import_module

import pytest

from clip_adapter import training
from clip_adapter.training.gradient_descent import train_stacked


def test_a_name_is_what_its_module_calls_so() -> None:
    assert training.train_stacked is train_stacked


def test_a_name_that_no_module_has_is_refused() -> None:
    with pytest.raises(AttributeError, match=r"'clip_adapter\.training' has no attribute 'ascend'"):
        training.ascend  # type: ignore[attr-defined]  # noqa: B018  # asking is the test


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys; from clip_adapter import training; before = 'torch' in sys.modules; "
        "training.train_stacked; sys.exit(before or 'torch' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("package", "former", "today"),
    [
        ("clip_adapter.training", "DivergedError", "clip_adapter.errors.SettingsError"),
        ("clip_adapter.report", "ReportError", "clip_adapter.runs.RunStoreError"),
        ("feature_cache.exchange", "ExportError", "feature_cache.InvalidInputError"),
        ("feature_cache.exchange", "UnknownImportError", "feature_cache.NotStoredError"),
    ],
)
def test_a_former_name_is_accepted_with_a_warning(package: str, former: str, today: str) -> None:
    place, _, name = today.rpartition(".")
    with pytest.warns(DeprecationWarning, match=f"{package}.{former} is now {today}"):
        found = getattr(import_module(package), former)
    assert found is getattr(import_module(place), name)
