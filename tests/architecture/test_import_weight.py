"""What importing a package loads: the command answers before torch could have been imported."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from clip_adapter.methods import METHODS

ORCHESTRATION = {"prefect", "tasks", "flows", "service"}
LEARNING = {"torch", "open_clip", "sklearn", "torchvision", "transformers"}
COMPUTING = LEARNING | {"scipy"}
LIGHT = {
    "clip_adapter": LEARNING | ORCHESTRATION | {"numpy", "pyarrow", "duckdb", "pydantic", "rich"},
    "clip_adapter.cli": LEARNING | ORCHESTRATION | {"altair", "vl_convert", "jinja2"},
    "clip_adapter.datasets": COMPUTING | ORCHESTRATION | {"pyarrow", "duckdb"},
    "clip_adapter.encoders": COMPUTING | ORCHESTRATION | {"pyarrow", "duckdb", "huggingface_hub"},
    "clip_adapter.images": COMPUTING | ORCHESTRATION | {"pyarrow", "duckdb"},
    "clip_adapter.exports": LEARNING | ORCHESTRATION | {"onnx", "onnxruntime", "onnxscript"},
    "clip_adapter.runs": LEARNING | ORCHESTRATION,
    "clip_adapter.plots": LEARNING | ORCHESTRATION,
    "clip_adapter.report": LEARNING | ORCHESTRATION,
    "feature_cache": LEARNING | ORCHESTRATION | {"clip_adapter", "PIL"},
    "feature_cache.exchange": LEARNING | ORCHESTRATION | {"clip_adapter", "PIL", "duckdb"},
    "clip_adapter.methods": COMPUTING | ORCHESTRATION | {"pyarrow", "duckdb", "feature_cache"},
    "service.commands": LEARNING | {"prefect", "tasks", "flows"},
    "clip_adapter.training": COMPUTING | ORCHESTRATION | {"pyarrow", "duckdb", "feature_cache"},
}


@pytest.mark.parametrize("package", LIGHT)
def test_importing_a_package_loads_nothing_it_can_do_without(package: str, tmp_path: Path) -> None:
    assert _loaded_by(package, cwd=tmp_path) & LIGHT[package] == set()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_made_without_what_computes(name: str, tmp_path: Path) -> None:
    code = f"import clip_adapter.methods; clip_adapter.methods.create_method({name!r})"
    assert _loaded_after(code, cwd=tmp_path) & COMPUTING == set()


def test_a_package_has_every_name_that_it_shows(sources: dict[str, str]) -> None:
    """Those, too, that it imports only when they are asked for."""
    absent = [
        f"{path}: {alias.asname}"
        for path, text in sources.items()
        if path.endswith("__init__.py") and path.startswith("clip_adapter/")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname and not hasattr(_package_of(path), alias.asname)
    ]
    assert absent == []


def _package_of(path: str) -> ModuleType:
    return importlib.import_module(path.removesuffix("/__init__.py").replace("/", "."))


def _loaded_by(module: str, *, cwd: Path) -> set[str]:
    return _loaded_after(f"import {module}", cwd=cwd)


def _loaded_after(code: str, *, cwd: Path) -> set[str]:
    told = f"{code}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=cwd, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}
