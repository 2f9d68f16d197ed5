"""The model card of an exported classifier: its numbers from SQL, else from the classifier's file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]  # ships no types
from jinja2 import Environment, PackageLoader, StrictUndefined

from clip_adapter.encoders import BUILT_IN
from clip_adapter.escaping import escape_markdown, slug
from clip_adapter.exports.folder import is_local
from clip_adapter.methods import SavedClassifier
from clip_adapter.methods.classifier_metadata import Score
from clip_adapter.runs import PairedDifference, RunDatabase, connect, paired_difference
from clip_adapter.shots import shots_in_words, unusual_images
from feature_cache import Location, storage

MOST_CLASSES = 100
"""Largest number of rows of the table of classes; of more classes those of lowest recall."""

_RUN = """
SELECT
    run_id, dataset, index_fingerprint, encoder, method, shots, seed, settings_fingerprint,
    selected_on, image_choice, n_train, n_validation, n_test, n_leaked, class_names,
    strftime(started_at, '%Y-%m-%d') AS trained_on
FROM runs LEFT JOIN asked_runs USING (run_id)
WHERE status = 'completed' AND fingerprint = $fingerprint
QUALIFY row_number() OVER (ORDER BY named DESC NULLS LAST, run_id) = 1
"""
_METRICS = "SELECT split, name, value FROM metrics WHERE run_id = $run_id"
_CLASSES = """
SELECT class_names[label + 1] AS class_name, count(*)::INTEGER AS n, avg(correct::INTEGER) AS recall
FROM predictions JOIN runs USING (run_id) WHERE run_id = $run_id
GROUP BY label, class_name ORDER BY label
"""
_IMAGES = """
SELECT split, count(*)::INTEGER AS n FROM images
WHERE dataset = $dataset AND index_fingerprint = $index GROUP BY split
"""
# Of the classifier's run and the last zero-shot run with its encoder and images.
_PAIRS = """
WITH zero_shot AS (
    SELECT run_id FROM runs LEFT JOIN asked_runs USING (run_id)
    WHERE status = 'completed' AND method = 'zero-shot' AND study IS NULL AND protocol = 'all-classes'
        AND dataset = $dataset AND index_fingerprint = $index AND encoder = $encoder
    QUALIFY row_number() OVER (ORDER BY asked DESC NULLS LAST, started_at DESC, run_id) = 1
),
theirs AS (FROM predictions SEMI JOIN zero_shot USING (run_id))
SELECT ours.correct AS ours, theirs.correct AS theirs
FROM predictions AS ours LEFT JOIN theirs USING (position, image_sha256, label)
WHERE ours.run_id = $run_id ORDER BY position
"""
_SEEDS = """
SELECT count(*)::INTEGER AS n, avg(value) AS mean, min(value) AS low, max(value) AS high
FROM current_runs JOIN metrics USING (run_id)
WHERE split = 'test' AND name = 'accuracy' AND dataset = $dataset AND encoder = $encoder
    AND index_fingerprint = $index AND method = $method AND shots = $shots
    AND settings_fingerprint = $settings AND image_choice = $image_choice
"""

_HUB_LICENCES = {"Apache-2.0": "apache-2.0", "MIT": "mit"}
_METHOD_PAPERS = {
    "tip-adapter": ("Zhang et al. 2022, Tip-Adapter", "2207.09519"),
    "coop": ("Zhou et al. 2022, CoOp", "2109.01134"),
    "cross-modal": ("Lin et al. 2023, cross-modal adaptation", "2301.06267"),
    "lp++": ("Huang et al. 2024, LP++", "2404.02285"),
    "task-res": ("Yu et al. 2023, TaskRes", "2211.10277"),
    "gda": ("Wang et al. 2024, GDA", "2402.04087"),
}
"""Papers of methods by the beginning of their names; that of CLIP-Adapter is always named."""
_ENCODER_PAPERS = {
    "siglip2": ("Tschannen et al. 2025, SigLIP 2", "2502.14786"),
    "siglip": ("Zhai et al. 2023, SigLIP", "2303.15343"),
    "eva0": ("Sun et al. 2023, EVA-CLIP", "2303.15389"),
    "mobileclip": ("Vasu et al. 2024, MobileCLIP", "2311.17049"),
    "coca": ("Yu et al. 2022, CoCa", "2205.01917"),
    "dfn": ("Fang et al. 2023, data filtering networks", "2309.17425"),
    "metaclip": ("Xu et al. 2023, MetaCLIP", "2309.16671"),
    "datacomp": ("Gadre et al. 2023, DataComp", "2304.14108"),
    "laion": ("Cherti et al. 2022, OpenCLIP", "2212.07143"),
}
"""Papers of encoders by a part of the name of the model, the first that fits; CLIP's is always named."""
_ACCURACY = ("test", "accuracy")
_SPLITS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model card says, read from the run store or from the classifier's file.

    The accuracy is that of the classifier's own metadata. The other numbers are those of its run, if the
    store has it and recorded the same accuracy.

    Attributes:
        saved: the classifier, its encoder with the name that is shown.
        run: the row of its run; empty if the numbers are not those of the store.
        is_measured_again: whether the store has the run with another accuracy, as it has after a
            classifier was fitted again and gives other predictions.
        metrics: metrics of the run by split and name.
        classes: class name, number of test images and recall of every class.
        images: number of images of each split of the dataset.
        zero_shot: comparison with zero-shot CLIP on the same test images; None if it was not run.
        seeds: number of runs that differ in the seed only, with mean, lowest and highest accuracy.
    """

    saved: SavedClassifier
    run: Mapping[str, Any] = field(default_factory=dict)
    is_measured_again: bool = False
    metrics: Mapping[tuple[str, str], float] = field(default_factory=dict)
    classes: tuple[Mapping[str, Any], ...] = ()
    images: Mapping[str, int] = field(default_factory=dict)
    zero_shot: PairedDifference | None = None
    seeds: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> Score | None:
        """Test accuracy with its 95 % interval; None where the metadata has none."""
        scores = self.saved.metadata.scores if self.saved.metadata else ()
        return next((each for each in scores if (each.split, each.name) == _ACCURACY), None)

    @property
    def is_oracle(self) -> bool:
        """Whether the test split chose the hyper-parameters."""
        return "oracle" in (self._fact("selected_on") or "")

    def text(self, *, has_encoder: bool, checked: Mapping[str, Any]) -> str:
        """The card in Markdown, with the header that the hub reads.

        Args:
            has_encoder: whether the folder holds a graph of encoder and classifier.
            checked: how the graphs were compared with PyTorch, as in config.json.
        """
        header = yaml.safe_dump(self._header(), sort_keys=False, allow_unicode=True)
        described = self.saved.metadata
        body = (
            _environment()
            .get_template("README.md.jinja")
            .render(
                card=self,
                described=described,
                has_encoder=has_encoder,
                checked=checked,
                accuracy=self.accuracy,
                shots=shots_in_words(self.run.get("shots", described.shots if described else 0)),
                images=unusual_images(self.run.get("image_choice", "own")),
                learns=self._fact("n_train") not in {0, None},
                fact=self._fact,
                class_rows=self._class_rows(),
                split_counts=_split_counts(self.images),
                papers=self._papers(),
                is_built_in=self._is_built_in(),
                calibration=self._calibration(),
            )
        )
        return f"---\n{header}---\n{body}"

    def _fact(self, name: str) -> Any:
        """A value of the run's row, else of the file; None where neither has it."""
        return self.run.get(name, getattr(self.saved.metadata, name, None))

    def _header(self) -> dict[str, Any]:
        described = self.saved.metadata
        licence = described.encoder.licence if described else None
        header: dict[str, Any] = {"license": _HUB_LICENCES.get(licence or "", "other")}
        if licence is None:
            header["license"] = "unknown"
        elif header["license"] == "other":
            header["license_name"] = slug(licence)
        header |= {
            "library_name": "clip-adapter",
            "pipeline_tag": "image-classification",
            "tags": ["clip", "few-shot", "onnx", self.saved.method],
        }
        dataset, accuracy = self._fact("dataset"), self.accuracy
        if dataset is None:
            return header
        header |= {"datasets": [dataset], "metrics": ["accuracy"]}
        if accuracy is None or self.is_oracle:  # the hub would rank an upper bound as a result
            return header
        result = {
            "task": {"type": "image-classification", "name": "Image classification"},
            "dataset": {"name": dataset, "type": dataset, "split": "test"},
            "metrics": [
                {"type": "accuracy", "value": round(accuracy.value, 6), "name": "Test accuracy"}
            ],
        }
        name = f"{self.saved.method} on {dataset}"
        return {**header, "model-index": [{"name": name, "results": [result]}]}

    def _is_built_in(self) -> bool:
        encoder = self.saved.metadata.encoder if self.saved.metadata else None
        return encoder is not None and encoder.model == BUILT_IN and not encoder.is_imported

    def _calibration(self) -> dict[str, Any]:
        """What is known about the confidences of a classifier with a temperature."""
        from clip_adapter.training.evaluation import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE

        temperature = self.saved.metadata.temperature if self.saved.metadata else None
        before, after = (self.metrics.get(("test", name)) for name in ("ece", "ece_calibrated"))
        # The search ends near a bound, and not on it.
        lowest, highest = LOWEST_TEMPERATURE * 1.001, HIGHEST_TEMPERATURE / 1.001
        return {
            "temperature": temperature,
            "is_on_validation": bool(self._fact("n_validation")),
            "ece": before,
            "ece_calibrated": after,
            "is_at_bound": temperature is not None and not lowest < temperature < highest,
            "is_no_better": None not in {before, after} and after >= before,  # type: ignore[operator]  # not None
            "bounds": f"{LOWEST_TEMPERATURE:g} to {HIGHEST_TEMPERATURE:g}",
        }

    def _class_rows(self) -> list[Mapping[str, Any]]:
        if len(self.classes) <= MOST_CLASSES:
            return list(self.classes)
        return sorted(self.classes, key=lambda row: row["recall"])[:MOST_CLASSES]

    def _papers(self) -> list[tuple[str, str]]:
        """The papers to cite beside CLIP-Adapter's: of the method and of the encoder."""
        method = [
            paper for name, paper in _METHOD_PAPERS.items() if self.saved.method.startswith(name)
        ]
        model = self.saved.metadata.encoder.model if self.saved.metadata else ""
        model = "" if is_local(model) else model.casefold()
        encoder = [paper for part, paper in _ENCODER_PAPERS.items() if part in model][:1]
        return [*method, *encoder, ("Radford et al. 2021, CLIP", "2103.00020")]


def read_card(saved: SavedClassifier, *, root: Location | None) -> ModelCard:
    """Read what the card of a classifier says.

    Args:
        saved: the classifier; one without metadata has a card without numbers.
        root: folder or URL of the store that the classifier is from, which need not have its run any
            more; None for a classifier of a file, which may name any run.

    Raises:
        FeatureCacheError: a file of runs is damaged.
    """
    if saved.metadata is None or root is None or not storage.is_folder(root):
        return ModelCard(saved=saved)
    with connect(root) as database:
        rows = database.query(_RUN, {"fingerprint": saved.metadata.run_fingerprint}).to_pylist()
        return _of_run(saved, rows[0], database) if rows else ModelCard(saved=saved)


def _of_run(saved: SavedClassifier, run: dict[str, Any], database: RunDatabase) -> ModelCard:
    def ask(sql: str, *names: str) -> list[dict[str, Any]]:
        known = {**run, "index": run["index_fingerprint"], "settings": run["settings_fingerprint"]}
        rows: list[dict[str, Any]] = database.query(
            sql, {name: known[name] for name in names}
        ).to_pylist()
        return rows

    state = ("dataset", "index", "encoder")
    metrics = {(row["split"], row["name"]): row["value"] for row in ask(_METRICS, "run_id")}
    if not _is_same_accuracy(saved, metrics.get(_ACCURACY), n_images=run["n_test"]):
        return ModelCard(saved=saved, is_measured_again=True)
    return ModelCard(
        saved=saved,
        run=run,
        metrics=metrics,
        classes=tuple(ask(_CLASSES, "run_id")),
        images={row["split"]: row["n"] for row in ask(_IMAGES, "dataset", "index")},
        zero_shot=_compared(ask(_PAIRS, "run_id", *state)),
        seeds=ask(_SEEDS, *state, "method", "shots", "settings", "image_choice")[0],
    )


def _is_same_accuracy(saved: SavedClassifier, recorded: float | None, *, n_images: int) -> bool:
    """Whether a classifier's metadata has the accuracy that was recorded of its run."""
    found = ModelCard(saved=saved).accuracy
    if found is None or recorded is None:
        return found is None and recorded is None
    return (found.value, found.n_images) == (recorded, n_images)


def _compared(pairs: list[dict[str, Any]]) -> PairedDifference | None:
    """The paired difference; None unless every test image has both predictions."""
    if not pairs or any(pair["theirs"] is None for pair in pairs):
        return None
    ours, theirs = (np.array([[pair[name] for pair in pairs]]) for name in ("ours", "theirs"))
    return paired_difference(ours, theirs)


def _split_counts(images: Mapping[str, int]) -> str:
    return ", ".join(f"{images[name]:,} {word}" for name, word in _SPLITS.items() if name in images)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("clip_adapter.exports"),
        autoescape=True,
        finalize=escape_markdown,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.1f} %"
    environment.filters["points"] = lambda value: f"{100 * value:+.1f}"
    environment.filters["count"] = lambda value: f"{value:,}"
    return environment
