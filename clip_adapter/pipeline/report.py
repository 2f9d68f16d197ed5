"""The report with what only the application has: small pictures of images, and features after an adapter."""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from clip_adapter import report
from clip_adapter.errors import ClipAdapterError
from clip_adapter.images import DEFAULT_OPTIONS, image_folder, open_images
from clip_adapter.pipeline.adapted_features import adapted_features
from clip_adapter.pipeline.datasets import source_of, thumbnail
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.report import Extras, WrittenReport
from clip_adapter.report.results import DatasetResults, Row
from clip_adapter.report.sections import Projection, Thumbnails
from feature_cache import FeatureCacheError, IndexStore, Location

MOST_POINTS = 300
"""Largest number of images whose features are shown; more would be a third of the page's size."""
QUALITY = 80
"""Quality of the JPEG files; a small picture has about 3 kB."""


def write_report(
    root: Location,
    page: Path,
    *,
    datasets: Sequence[str] = (),
    has_images: bool = True,
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> WrittenReport:
    """Write a report as `clip_adapter.report.write_report` does, with pictures and features where it is HTML.

    Args:
        root: location of the store; nothing is written to it.
        page: the file to write.
        datasets: names of the datasets to report on; all when empty.
        has_images: whether the page shows images that are classified wrongly, read from their folders, and
            features before and after the adapter, for which a run may be fitted again.
        reporter: where to say why something is left out.

    Raises:
        RunStoreError: the name of the page ends in none of the known suffixes, there is no store, or it has
            no completed runs.
        UnknownNameError: a dataset has no completed runs.
        OSError: the disk failed; the page is unchanged.
    """
    if not has_images or page.suffix.casefold() not in report.HTML:
        return report.write_report(root, page, datasets=datasets)
    return report.write_report(root, page, datasets=datasets, extras=extras_of(root, reporter))


def extras_of(root: Location, reporter: Reporter) -> Extras:
    """Pictures and features of the datasets of a store."""

    def thumbnails(results: DatasetResults) -> Thumbnails:
        return lambda rows: _addresses(root, results, rows, reporter)

    def projection(results: DatasetResults) -> Projection:
        return lambda: _projection(root, results, reporter)

    return Extras(thumbnails=thumbnails, projection=projection)


def _addresses(
    root: Location, results: DatasetResults, rows: Sequence[Row], reporter: Reporter
) -> list[str | None]:
    """Small pictures as `data:` addresses; None for an image that is gone, changed or unreadable."""
    try:
        store = IndexStore(root, results.dataset)
        folder = source_of(store, results.about["index_fingerprint"])
        if folder is None or not any(row["path"] for row in rows):
            return [None] * len(rows)
        with open_images(image_folder(folder), DEFAULT_OPTIONS) as reader:
            made = [
                thumbnail(
                    reader,
                    row["path"],
                    "",
                    image_sha256=bytes.fromhex(row["image_sha256"]),
                    read=DEFAULT_OPTIONS,
                ).image
                if row["path"]
                else None
                for row in rows
            ]
    except (ClipAdapterError, FeatureCacheError, OSError) as error:
        reporter.log(f"no pictures of {results.dataset}: {error}")
        return [None] * len(rows)
    n_gaps = sum(image is None for image in made)
    if n_gaps:
        reporter.log(
            f"{n_gaps} pictures of {results.dataset} are left out: their files are gone or changed"
        )
    addresses: list[str | None] = []
    for image in made:
        if image is None:
            addresses.append(None)
            continue
        file = BytesIO()
        image.convert("RGB").save(file, "JPEG", quality=QUALITY, optimize=True)
        addresses.append(f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}")
    return addresses


def _projection(root: Location, results: DatasetResults, reporter: Reporter) -> Sequence[Row]:
    """Features before and after the adapter; none where no adapter changes image features."""
    try:
        rows: list[Row] = adapted_features(
            results.dataset,
            model=results.encoder,
            root=root,
            max_images=MOST_POINTS,
            reporter=reporter,
        ).to_pylist()
    except (ClipAdapterError, FeatureCacheError, OSError) as error:
        reporter.log(f"no features of {results.dataset} before and after the adapter: {error}")
        return ()
    return rows
