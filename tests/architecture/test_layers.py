"""The layers of DESIGN hold: which package may import which."""

from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports


def test_no_package_imports_what_it_must_not_know(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    status = lint_imports(
        config_filename=str(checkout / "pyproject.toml"),
        cache_dir=str(tmp_path),
        is_debug_mode=False,
    )
    assert status == EXIT_STATUS_SUCCESS
