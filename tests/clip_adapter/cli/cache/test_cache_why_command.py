import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from clip_adapter.encoders import load_encoder
from feature_cache import INDEX_SCHEMA, QUARANTINE_SCHEMA, FeatureStore, IndexStore

Command = Callable[..., Any]
IMAGES = [bytes(31) + bytes([number]) for number in range(6)]


@pytest.fixture(name="why")
def _why(cache: Command, root: Path, tiny_model: str) -> Command:
    """Ask about the six images of `cats`, one of which lies in two files."""
    put_index(root, "cats", [*IMAGES, IMAGES[0]])
    return partial(cache, "why", "--dataset", "cats", "--model", tiny_model)


@pytest.fixture(name="store_of")
def _store_of(root: Path) -> Callable[..., FeatureStore]:
    """The store of a model, described as an extraction does it."""

    def make(model: str, *, resize: str | None = None, name: str = "") -> FeatureStore:
        identity = load_encoder(model, resize=resize).identity
        store = FeatureStore(root, identity.fingerprint)
        store.describe({**identity.fields(), "model": name or model})
        return store

    return make


def put_index(root: Path, dataset: str, images: list[bytes]) -> Path:
    n = len(images)
    columns: dict[str, Any] = {
        "index_fingerprint": [f"{n:064x}"] * n,
        "dataset": [dataset] * n,
        "row": np.arange(n, dtype=np.int32),
        "image_sha256": pa.array(images, pa.binary(32)),
        "path": [f"{place}.png" for place in range(n)],
        "label": np.zeros(n, np.int32),
        "class_name": ["cat"] * n,
        "split": ["train"] * n,
        "group": pa.nulls(n, pa.string()),
        "width": np.ones(n, np.int32),
        "height": np.ones(n, np.int32),
        "n_bytes": np.ones(n, np.int64),
    }
    before = set((root / "datasets" / dataset / "images").glob("*"))
    table = pa.table(columns, schema=INDEX_SCHEMA)
    IndexStore(root, dataset).write(table, QUARANTINE_SCHEMA.empty_table())
    (written,) = set((root / "datasets" / dataset / "images").glob("*")) - before
    return written


def put(store: FeatureStore, images: list[bytes], *, view: int = 0) -> Path:
    path = store.append_images(images, np.ones((len(images), 4), np.float32), view=view)
    assert isinstance(path, Path)
    return path


def answer_of(outcome: Any) -> str:
    return str(outcome.out.splitlines()[-1])


def test_an_encoder_that_saw_nothing_reuses_nothing_and_says_so(why: Command, root: Path) -> None:
    before = sorted(root.rglob("*"))
    outcome = why()
    assert (outcome.code, outcome.err) == (0, "")
    assert "no image features of this very encoder" in outcome.out
    assert answer_of(outcome) == "0 of 6 images will be reused, 6 will be encoded"
    assert sorted(root.rglob("*")) == before


def test_what_is_in_the_store_is_reused_and_the_rest_is_not(
    why: Command, store_of: Callable[..., FeatureStore], tiny_model: str
) -> None:
    put(store_of(tiny_model), [*IMAGES[:4], b"another dataset's image........."])
    outcome = why()
    assert "2 images are not in the store" in outcome.out
    assert answer_of(outcome) == "4 of 6 images will be reused, 2 will be encoded"


def test_when_all_is_there_no_reason_is_given(
    why: Command, store_of: Callable[..., FeatureStore], tiny_model: str
) -> None:
    put(store_of(tiny_model), IMAGES)
    told = json.loads(why("--json").out)
    assert (told["images"], told["reused"], told["to_encode"]) == (6, 6, 0)
    assert (told["reasons"], told["damaged"], told["others"]) == ([], [], [])


def test_views_that_are_missing_are_counted(
    why: Command, store_of: Callable[..., FeatureStore], tiny_model: str
) -> None:
    store = store_of(tiny_model)
    put(store, IMAGES)
    put(store, IMAGES[:2], view=1)
    outcome = why("--views", "1")
    assert "4 images are there, but not in all the views" in outcome.out
    assert answer_of(outcome) == "2 of 6 images will be reused, 4 will be encoded"
    told = json.loads(why("--views", "2", "--augmentation", "coop", "--json").out)
    assert (told["views"], told["views_to_encode"]) == ([0, 10001, 10002], 12)


def test_another_preprocessing_is_named_as_the_field_that_differs(
    why: Command, store_of: Callable[..., FeatureStore], tiny_model: str
) -> None:
    put(store_of(tiny_model, resize="squash"), IMAGES[:5])
    outcome = why()
    assert "holds 5 of the 6 images, but it is another encoder" in outcome.out
    row = next(line for line in outcome.out.splitlines() if "preprocessing.resize_mode" in line)
    assert row.split() == ["preprocessing.resize_mode", "shortest", "squash"]
    (other,) = json.loads(why("--json").out)["others"]
    assert other["differences"] == [
        {"field": "preprocessing.resize_mode", "ours": "shortest", "theirs": "squash"}
    ]
    assert answer_of(why("--resize", "squash")) == "5 of 6 images will be reused, 1 will be encoded"


def test_other_weights_under_a_hostile_name_are_told_apart_and_stay_inert(
    why: Command, store_of: Callable[..., FeatureStore], other_tiny_model: str
) -> None:
    put(store_of(other_tiny_model, name="[link=x]tiny\x1b[2J"), IMAGES)
    outcome = why()
    assert r"[link=x]tiny\x1b[2J" in outcome.out
    assert "\x1b" not in outcome.out
    (other,) = json.loads(why("--json").out)["others"]
    assert [each["field"] for each in other["differences"]] == ["weights_sha256"]


def test_the_encoder_that_is_most_alike_comes_first(
    why: Command, store_of: Callable[..., FeatureStore], other_tiny_model: str, tiny_model: str
) -> None:
    put(store_of(other_tiny_model, resize="squash"), IMAGES)
    put(store_of(tiny_model, resize="squash"), IMAGES[:1])
    told = json.loads(why("--json").out)["others"]
    assert [len(each["differences"]) for each in told] == [1, 2]


def test_an_encoder_that_was_never_described_differs_in_everything(
    why: Command, root: Path
) -> None:
    put(FeatureStore(root, "0123456789abcdef"), IMAGES)
    assert "a model that was never named" in why().out
    (other,) = json.loads(why("--json").out)["others"]
    assert {each["theirs"] for each in other["differences"]} == {None}


def test_a_damaged_file_is_a_reason(
    why: Command,
    store_of: Callable[..., FeatureStore],
    tiny_model: str,
    flip_a_bit: Callable[[Path], None],
) -> None:
    path = put(store_of(tiny_model), IMAGES)
    flip_a_bit(path)
    outcome = why()
    assert outcome.code == 1
    assert str(path) in outcome.out
    assert "1 file is damaged" in outcome.out
    assert answer_of(outcome) == "0 of 6 images will be reused, 6 will be encoded"


def test_the_index_that_was_written_last_counts(why: Command, root: Path) -> None:
    os.utime(put_index(root, "cats", IMAGES[:3]), (2e9, 2e9))
    assert json.loads(why("--json").out)["images"] == 3


def test_a_dataset_that_was_not_indexed_is_an_error_with_advice(why: Command) -> None:
    outcome = why("--dataset", "cast")
    assert (outcome.code, outcome.out) == (1, "")
    for words in ("'cast' is not indexed", "did you mean 'cats'?", "`clip-adapter extract`"):
        assert words in outcome.err


@pytest.mark.parametrize("name", ["../cats", "cats/images", "", "imagefolder:/nowhere"])
def test_a_name_is_no_way_out_of_the_store(why: Command, name: str) -> None:
    assert why("--dataset", name).code == 1


def test_without_a_model_the_default_of_the_dataset_is_meant(
    cache: Command, root: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_index(root, "cats", IMAGES)
    monkeypatch.setattr("clip_adapter.pipeline.default_model.DEFAULT_MODEL", tiny_model)
    found = json.loads(cache("why", "--dataset", "cats", "--json").out)
    assert found["model"] == tiny_model


def test_a_model_that_does_not_exist_is_an_error(why: Command) -> None:
    outcome = why("--model", "glyph")
    assert (outcome.code, outcome.out) == (1, "")
    assert "'glyphs'" in outcome.err


@pytest.mark.parametrize(
    "arguments", [["--precision", "fp8"], ["--resize", "crop"], ["--views", "-1"]]
)
def test_an_option_out_of_range_is_wrong_usage(why: Command, arguments: list[str]) -> None:
    assert why(*arguments).code == 2


def test_it_reads_well_on_eighty_columns(
    why: Command,
    store_of: Callable[..., FeatureStore],
    other_tiny_model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(store_of(other_tiny_model, resize="squash", name="tiny"), IMAGES)
    monkeypatch.setenv("COLUMNS", "80")
    outcome = why()
    wide = [line for line in outcome.out.splitlines() if len(line) > 80]
    assert [line for line in wide if not line.startswith("encoder ")] == []


def test_a_missing_root_is_an_error(cache: Command, root: Path) -> None:
    outcome = cache("why", "--dataset", "cats")
    assert outcome.code == 1
    assert "no store at" in outcome.err
    assert not root.exists()
