"""What the functions of the pipeline return, as tables of Arrow and pandas and in a notebook."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import clip_adapter
from clip_adapter.errors import UnavailableError
from clip_adapter.pipeline.ablations import Reproduction
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.maintain import Maintenance
from clip_adapter.pipeline.promote import Promotion
from clip_adapter.pipeline.tables import TabularResult, evaluated_runs
from clip_adapter.pipeline.train import Training
from clip_adapter.runs import RUN_TABLES
from feature_cache import FeatureStore

RUN_COLUMNS = {"method", "shots", "seed", "accuracy", "nll", "residual_ratio", "run_id"}
KINDS = ("encoded", "training", "promotion", "reproduction", "maintenance")


@dataclass(frozen=True)
class Results:
    """One result of each kind, of the same store."""

    encoded: EncodedDataset
    training: Training
    promotion: Promotion
    reproduction: Reproduction
    maintenance: Maintenance

    def __getitem__(self, kind: str) -> TabularResult:
        found = getattr(self, kind)
        assert isinstance(found, TabularResult)
        return found


@pytest.fixture(scope="module", name="results")
def _results(
    few_photos: Path, tiny_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    """The functions are called as a user calls them."""
    root = tmp_path_factory.mktemp("results") / "store"
    dataset = f"imagefolder:{few_photos}"
    sweep = {"shots": [1, 2], "seeds": [1, 2], "methods": ["zero-shot", "linear-probe"]}
    return Results(
        encoded=clip_adapter.extract(dataset, tiny_model, root=root),
        training=clip_adapter.train(dataset, tiny_model, root=root, **sweep),
        promotion=clip_adapter.promote(dataset, tiny_model, root=root, **sweep),
        reproduction=clip_adapter.reproduce(
            "output-activation",
            dataset,
            tiny_model,
            root=root,
            shots=[1],
            seeds=[1],
            recipe="fast",
        ),
        maintenance=clip_adapter.maintain(root=root),
    )


def test_an_extraction_is_a_row_an_image_with_its_feature(results: Results) -> None:
    encoded, table = results.encoded, results.encoded.to_arrow()
    index = encoded.dataset.index
    assert table.num_rows == len(index) == 24
    assert table["path"].to_pylist() == list(index.paths)
    assert table["image_sha256"].to_pylist() == [digest.hex() for digest in index.image_sha256]
    assert set(table["class_name"].to_pylist()) == {"red", "blue"}
    assert table.schema.field("feature").type == pa.list_(pa.float32(), 16)
    stored = FeatureStore(encoded.dataset.root, encoded.encoder).read_images(index.image_sha256)
    features = table["feature"].combine_chunks().flatten().to_numpy().reshape(24, -1)
    np.testing.assert_array_equal(features, stored.astype(np.float32))


def test_a_training_is_a_row_a_run_in_the_order_of_the_request(results: Results) -> None:
    table = results.training.to_arrow()
    assert set(table.column_names) >= RUN_COLUMNS
    assert table["fingerprint"].to_pylist() == list(results.training.runs.fingerprints)
    assert table.num_rows == 1 + 4
    assert table["method"].to_pylist() == ["zero-shot", *["linear-probe"] * 4]
    assert all(0 <= value <= 1 for value in table["accuracy"].to_pylist())
    assert table["residual_ratio"].null_count == table.num_rows


def test_runs_of_a_training_done_before_are_the_same_rows(
    results: Results, few_photos: Path, tiny_model: str
) -> None:
    encoded = results.encoded
    again = clip_adapter.train(
        f"imagefolder:{few_photos}",
        tiny_model,
        root=str(encoded.dataset.root),
        shots=[1, 2],
        seeds=[1, 2],
        methods=["zero-shot", "linear-probe"],
    )
    assert again.runs.n_trained == 0
    assert again.to_arrow().equals(results.training.to_arrow())


def test_runs_that_are_not_recorded_give_no_row(results: Results) -> None:
    root, name = results.encoded.dataset.root, results.encoded.dataset.name
    known = results.training.runs.fingerprints[0]
    assert evaluated_runs(root, ["ab" * 32, known], dataset=name).num_rows == 1
    assert evaluated_runs(root, [known], dataset="another").num_rows == 0
    assert evaluated_runs(root, [], dataset=name).num_rows == 0


def test_a_reproduction_names_the_variant_of_each_run(results: Results) -> None:
    table = results.reproduction.to_arrow()
    assert set(table.column_names) >= RUN_COLUMNS
    assert table["variant"].to_pylist() == ["output_activation=true", "output_activation=false"]
    assert table["residual_ratio"].null_count == 0


def test_a_promotion_is_its_record(results: Results) -> None:
    (row,) = results.promotion.to_arrow().to_pylist()
    assert row == vars(results.promotion.record)
    assert results.promotion.to_arrow().schema == RUN_TABLES["promotions"]


def test_a_maintenance_is_one_row(results: Results) -> None:
    (row,) = results.maintenance.to_arrow().to_pylist()
    assert row["verified_n_files"] == results.maintenance.verified.n_files > 0
    assert row["verified_damaged"] == []
    assert row["compacted_n_folders"] >= 0
    assert row["garbage_n_unfinished"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_is_a_data_frame(results: Results, kind: str) -> None:
    pytest.importorskip("pandas")
    frame, table = results[kind].to_pandas(), results[kind].to_arrow()
    assert list(frame.columns) == table.column_names
    assert len(frame) == table.num_rows


def test_without_pandas_the_error_says_what_to_install(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UnavailableError, match=r"pip install 'clip-adapter\[pandas\]'"):
        results.maintenance.to_pandas()


@pytest.mark.parametrize("kind", KINDS)
def test_a_notebook_shows_the_summary_and_a_table(results: Results, kind: str) -> None:
    result = results[kind]
    shown = result._repr_html_()
    lines = [result.summary] if isinstance(result.summary, str) else result.summary
    assert lines[0] in shown
    assert shown.count("<table>") == shown.count("</table>") == 1


def test_a_notebook_shows_the_first_rows_and_counts_the_rest(results: Results) -> None:
    shown = results.encoded._repr_html_()
    assert shown.count("<tr>") == 1 + 10
    assert "and 14 more" in shown
    assert "feature" not in shown


class _Hostile(TabularResult):
    @property
    def summary(self) -> str:
        return "<script>alert('summary')</script>"

    def to_arrow(self) -> pa.Table:
        return pa.table({"<b>": ["<img src=x>\x1b[2J"], "number": [0.123456], "none": [None]})


def test_names_from_outside_cannot_be_markup() -> None:
    shown = _Hostile()._repr_html_()
    assert "<script" not in shown
    assert "<img" not in shown
    assert "<b>" not in shown
    assert "\x1b" not in shown
    assert "<td>0.1235</td><td></td>" in shown
