"""What a run records since schema 2, and that the specification names every column."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import feature_cache
from clip_adapter.errors import UnknownNameError
from clip_adapter.runs import (
    RUN_TABLES,
    EvaluatedOn,
    ImagePredictions,
    RunRecord,
    RunResult,
    RunStore,
    RunStoreError,
    query,
)
from feature_cache import INDEX_SCHEMA, QUARANTINE_SCHEMA, IndexStore

USED = {"ranks": [1, "a"], "n": np.int64(3), "means": np.array([0.5, 1]), "place": Path("a/b")}
COLUMNS = "hyperparameters, image_choice, selection, logit_bias, protocol, tested_on"


def recorded(root: Path, run: RunRecord) -> dict[str, Any]:
    RunStore(root).record([RunResult(run=run)])
    (row,) = query(root, f"SELECT {COLUMNS} FROM runs").to_pylist()
    return dict(row)


def test_a_run_records_what_follows_from_it(root: Path, run_of: Callable[..., RunRecord]) -> None:
    row = recorded(root, run_of(1))
    settings = {name: json.loads(value) for name, value in row.pop("hyperparameters")}
    assert settings == {"residual_ratio": 0.2, "epochs": 100}
    assert row == {
        "image_choice": "own",
        "selection": "validation",
        "logit_bias": None,
        "protocol": "all-classes",
        "tested_on": {"dataset": "digits", "class_subset": None, "index_fingerprint": None},
    }


def test_a_run_records_what_it_is_told(root: Path, run_of: Callable[..., RunRecord]) -> None:
    told = {
        "image_choice": "budget:40",
        "selection": "none",
        "logit_bias": -10.0,
        "protocol": "base-to-new",
        "tested_on": EvaluatedOn(dataset="eurosat", class_subset="new"),
    }
    row = recorded(root, run_of(1, hyperparameters=USED, **told))
    assert row.pop("hyperparameters") == [
        ("ranks", '[1, "a"]'),
        ("n", "3"),
        ("means", "[0.5, 1.0]"),
        ("place", '"a/b"'),
    ]
    assert row == {
        **told,
        "tested_on": {"dataset": "eurosat", "class_subset": "new", "index_fingerprint": None},
    }


@pytest.mark.parametrize(
    ("fields", "selection"),
    [
        ({"selected_on": "held-out shots"}, "held-out-shots"),
        ({"selected_on": "training"}, "none"),
        ({"selected_on": "nothing"}, "none"),
        ({"selected_on": "test (oracle)"}, None),
        ({"selected_on": "nothing", "status": "failed", "error": "boom"}, None),
    ],
)
def test_the_selection_follows_from_what_chose(
    root: Path, run_of: Callable[..., RunRecord], fields: dict[str, Any], selection: str | None
) -> None:
    assert recorded(root, run_of(1, **fields))["selection"] == selection


@pytest.mark.parametrize("choice", ["", "published", "published:x", "budget:0", "own "])
def test_an_image_choice_that_cannot_be_repeated_is_refused(
    run_of: Callable[..., RunRecord], choice: str
) -> None:
    with pytest.raises(RunStoreError, match="expected 'own', 'published:<digest>' or"):
        run_of(1, image_choice=choice).check()


@pytest.mark.parametrize("field", ["selection", "protocol"])
def test_an_unknown_word_is_refused(run_of: Callable[..., RunRecord], field: str) -> None:
    with pytest.raises(UnknownNameError, match=field):
        run_of(1, **{field: "nonsense"}).check()


def test_predictions_are_those_of_the_test_split(
    root: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    others = (
        replace(predictions_of(1, 1, 1), split="validation"),
        replace(predictions_of(1), split="held-out", fold=2, label_probability=np.full(1, 0.25)),
    )
    result = replace(result_of(1), predictions=predictions_of(0, 0), other_predictions=others)
    RunStore(root).record([result])
    assert query(root, "SELECT sum(n) AS n FROM confusion").to_pylist() == [{"n": 2}]
    found = query(root, "SELECT predicted, label_probability FROM predictions").to_pylist()
    assert found == [{"predicted": 0, "label_probability": None}] * 2


def test_an_index_of_several_names_has_its_images_once(root: Path) -> None:
    image = {"path": "0.png", "label": 0, "class_name": "zero", "split": "test", "n_bytes": 1}
    image |= {"index_fingerprint": "index", "dataset": "digits", "width": 8, "height": 8}
    rows = [{**image, "row": row, "image_sha256": bytes(32)} for row in (0, 1)]
    images = pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)
    for name, source in ((None, None), ("Digits", "b"), ("Digits", "a")):
        nothing = QUARANTINE_SCHEMA.empty_table()
        IndexStore(root, "digits").write(images, nothing, name=name, source=source)
    found = query(root, 'SELECT "row", name, source FROM images ORDER BY 1').to_pylist()
    assert found == [{"row": row, "name": "Digits", "source": "a"} for row in (0, 1)]


@pytest.mark.parametrize("name", RUN_TABLES)
def test_the_specification_lists_every_column_of_a_table(name: str) -> None:
    page = Path(feature_cache.__file__).with_name("FORMAT.md").read_text(encoding="utf-8")
    (line,) = [each for each in page.splitlines() if each.startswith(f"| `{name}/` | ")]
    columns = ", ".join(map(_in_words, RUN_TABLES[name]))
    assert line.removeprefix(f"| `{name}/` | ").removesuffix(" |") == columns


def _in_words(field: pa.Field) -> str:
    kind = "struct" if pa.types.is_struct(field.type) else str(field.type)
    kind = {"tried": "list<struct>", "candidates": "list<struct>"}.get(field.name, kind)
    kind = kind.replace("element: ", "").replace("item: ", "")
    kind = kind.replace("[us, tz=UTC]", "").replace(
        "fixed_size_binary[32]", "fixed_size_binary(32)"
    )
    return f"`{field.name} {kind}{'?' if field.nullable else ''}`"
