"""Classifies images with a trained classifier, through the feature cache."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clip_adapter.errors import ParameterError, UnreadableImageError
from clip_adapter.images import ReadOptions
from clip_adapter.pipeline.image_features import FeatureReader, Named, batches
from clip_adapter.pipeline.image_inputs import ImageGroup, find_images
from clip_adapter.pipeline.load import ImageClassifier, load
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import PredictRequest, accepts
from clip_adapter.pipeline.tables import TabularResult
from clip_adapter.settings import Settings, check_writable

SET = "prediction_set"
"""The column of prediction sets."""


@dataclass(frozen=True, kw_only=True)
class Predictions(TabularResult):
    """The predicted classes of images.

    Attributes:
        table: one row an image, in the order of the request, and one for each damaged archive.
        classifier: method and dataset of the classifier.
        n_encoded: number of distinct images that were encoded now.
        n_reused: number of distinct images whose feature was stored already.
        n_excluded: number of other files in the folders and archives, which are no images.
        n_damaged: number of archives that are damaged after some image; each has a row of its own.
    """

    table: pa.Table
    classifier: str
    n_encoded: int
    n_reused: int
    n_excluded: int = 0
    n_damaged: int = 0

    @property
    def n_images(self) -> int:
        """Number of images, readable or not."""
        return len(self.table) - self.n_damaged

    @property
    def n_unreadable(self) -> int:
        """Number of images that could not be read."""
        return self.n_images - int(self.table["error"].null_count)

    @property
    def summary(self) -> str:
        """One line for a log."""
        others = f", {self.n_excluded:,} other files" if self.n_excluded else ""
        if self.n_damaged:
            others += f"; {self.n_damaged:,} archives are damaged and were not read to their end"
        return (
            f"{self.n_images:,} images classified by {self.classifier}: {self.n_encoded:,} encoded, "
            f"{self.n_reused:,} reused, {self.n_unreadable:,} unreadable{others}"
        )

    def to_arrow(self) -> pa.Table:
        """The predictions as a table.

        Returns:
            One row an image, in the order of the request: `path`; `predicted`, the most probable class,
            null for an unreadable image; `confidence`, its probability after the temperature; with
            `top` above 1 `predicted_2`, `confidence_2` and so on; with `coverage` the list
            `prediction_set`, of which one class is the true one with that probability, most probable
            first, empty for "none of these", and null for an unreadable image; and `error`, why an image
            could not be read, else null. All classes of an image are null where the confidence of the first is
            below `min_confidence`. A damaged archive is a row after its images, with an error.
        """
        return self.table

    def _repr_html_(self) -> str:
        """The summary and the first images with their classes, for a notebook."""
        from clip_adapter.report.prediction_grid import grid_html  # noqa: PLC0415  # jinja2

        return grid_html(self.summary, self.table)


@accepts(PredictRequest)
def predict(
    request: PredictRequest,
    *,
    listed: Sequence[str] = (),
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> Predictions:
    """Classify images; an image whose feature is stored is not encoded again.

    Returns:
        One row an image, in the order of the request; an unreadable image is a row with the reason,
        and so is an archive that is damaged after some image.

    Raises:
        ClipAdapterError: the classifier, its encoder or a parameter cannot be used; the message says why.
        FileNotFoundError: a named file is missing, or a pattern matches nothing.
        FeatureCacheError: the store cannot be read or written.
    """
    prediction = Prediction(request, listed=listed, reporter=reporter)
    return prediction.result(pa.concat_tables(prediction.tables()))


class Prediction:
    """A prediction request that is under way; its tables come as they are computed.

    Attributes:
        classifier: the classifier, with the classes that the request adds by name.
        groups: the images by place.
    """

    def __init__(
        self,
        request: PredictRequest,
        *,
        listed: Sequence[str] = (),
        reporter: Reporter = Reporter(),  # noqa: B008  # has no state
    ) -> None:
        """Load the classifier and list the images.

        Args:
            request: names the classifier and the images.
            listed: paths that stand for "-".
            reporter: where to report progress.
        """
        root = request.location
        self.classifier: ImageClassifier = load(
            request.classifier,
            root=request.root,
            model=request.model,
            device=request.device,
            reporter=reporter,
        )
        read = ReadOptions(
            follow_links=Settings.folder(request.follow_links), max_pixels=request.max_pixels
        )
        self.groups: list[ImageGroup] = find_images(request.names, listed=listed, read=read)
        self._request, self._reporter = request, reporter
        classifier = self.classifier
        self._features = FeatureReader(
            fingerprint=classifier.saved.encoder,
            load=lambda: classifier.encoder,
            encoding=classifier.encoding,
            root=root if request.cache else None,
            max_pixels=request.max_pixels,
            reporter=reporter,
        )
        if request.cache and isinstance(root, Path):
            check_writable(root)
        if request.coverage is not None:
            if request.also:
                raise ParameterError(
                    "coverage and also: no image of a class that is added by name calibrates prediction "
                    "sets: leave one of the two out"
                )
            calibration = self.classifier.saved.require_calibration()
            calibration.thresholds(request.coverage)
            reporter.log(
                f"prediction sets with a coverage of {request.coverage:g}, calibrated on "
                f"{len(calibration.label_probabilities):,} {calibration.images_in_words}"
            )
        if request.also:
            self.classifier = self.classifier.with_classes(
                request.also, encode_prompts=self._features.read_prompts
            )

    @property
    def n_images(self) -> int:
        """Number of rows: of images, readable or not, and of damaged archives."""
        return sum(len(group.names) for group in self.groups)

    def tables(self) -> Iterator[pa.Table]:
        """Classify all images; yields tables with the columns of `Predictions.to_arrow`, at least one."""
        with self._reporter.progress("predicting", total=self.n_images, unit="images") as advance:
            for batch in batches(self.groups):
                yield self._predict(batch)
                advance(len(batch))
        self._features.finish()

    def result(self, table: pa.Table) -> Predictions:
        """The whole result, from its tables joined in order."""
        return Predictions(
            table=table,
            classifier=self.classifier.title,
            n_encoded=self._features.n_encoded,
            n_reused=self._features.n_reused,
            n_excluded=sum(group.n_excluded for group in self.groups),
            n_damaged=sum(group.n_damaged for group in self.groups),
        )

    def _predict(self, batch: Sequence[Named]) -> pa.Table:
        names, contents = zip(*batch, strict=True)
        features = self._features.read(contents)
        rows = [row for row, each in enumerate(features) if isinstance(each, np.ndarray)]
        n_top = min(self._request.top, len(self.classifier.class_names))
        # A name that is no Unicode is shown with its bytes escaped.
        shown = [name.encode("utf-8", "backslashreplace").decode() for name in names]
        columns: dict[str, list[Any]] = {"path": shown}
        for place, (classes, values) in enumerate(self._top(features, rows, n_top), start=1):
            end = "" if place == 1 else f"_{place}"
            columns[f"predicted{end}"] = classes
            columns[f"confidence{end}"] = values
        if self._request.coverage is not None:
            columns[SET] = self._sets(features, rows, coverage=self._request.coverage)
        columns["error"] = [
            each.reason if isinstance(each, UnreadableImageError) else None for each in features
        ]
        return pa.table(columns, schema=schema(n_top, has_sets=SET in columns))

    def _sets(
        self, features: Sequence[Any], rows: Sequence[int], *, coverage: float
    ) -> list[list[str] | None]:
        """The prediction set of each image, most probable class first; None where there is no feature."""
        found: list[list[str] | None] = [None] * len(features)
        if rows:
            saved, stacked = self.classifier.saved, np.stack([features[row] for row in rows])
            order = np.argsort(-saved.probabilities(stacked), axis=1, kind="stable")
            sets = saved.prediction_sets(stacked, coverage=coverage)
            names = self.classifier.class_names
            for row, ranked, members in zip(rows, order, sets, strict=True):
                found[row] = [names[label] for label in ranked if members[label]]
        return found

    def _top(
        self, features: Sequence[Any], rows: Sequence[int], n_top: int
    ) -> Iterator[tuple[list[str | None], list[float | None]]]:
        """Classes and probabilities of each rank, with None in the rows that have no feature."""
        n, least = len(features), self._request.min_confidence
        probabilities = np.zeros((0, n_top), dtype=np.float32)
        order = np.zeros((0, n_top), dtype=np.int64)
        if rows:
            stacked = np.stack([features[row] for row in rows])
            probabilities = self.classifier.saved.probabilities(stacked)
            # Stable, so that of equal probabilities the first class ranks higher.
            order = np.argsort(-probabilities, axis=1, kind="stable")[:, :n_top]
        names = self.classifier.class_names
        for rank in range(n_top):
            classes: list[str | None] = [None] * n
            values: list[float | None] = [None] * n
            for place, row in enumerate(rows):
                label = int(order[place, rank])
                values[row] = float(probabilities[place, label])
                is_told = probabilities[place, order[place, 0]] >= least
                classes[row] = names[label] if is_told else None
            yield classes, values


def schema(n_top: int, *, has_sets: bool = False) -> pa.Schema:
    """The columns of `Predictions.to_arrow` for the `n_top` most probable classes, and prediction sets."""
    ends = ["", *(f"_{rank}" for rank in range(2, n_top + 1))]
    ranked = [
        column
        for end in ends
        for column in (
            pa.field(f"predicted{end}", pa.string()),
            pa.field(f"confidence{end}", pa.float32()),
        )
    ]
    sets = [pa.field(SET, pa.list_(pa.string()))] if has_sets else []
    return pa.schema(
        [pa.field("path", pa.string()), *ranked, *sets, pa.field("error", pa.string())]
    )
