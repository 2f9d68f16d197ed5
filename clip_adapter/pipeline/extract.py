"""Extraction: index a dataset, encode what the store lacks, record how long that took."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from clip_adapter.datasets import IMPORTED, FewShotSplit, check_is_folder
from clip_adapter.devices import choose_device
from clip_adapter.errors import ImageError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.default_model import choose_model
from clip_adapter.pipeline.encode import EncodedDataset, Part, encode_dataset, encode_images
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.executor import Executor, not_retried
from clip_adapter.pipeline.identity import expected_name
from clip_adapter.pipeline.index import IndexedDataset, index_dataset
from clip_adapter.pipeline.plan import SplitSpec, log_draws, log_short_classes, training_rows
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.request_log import record_request
from clip_adapter.pipeline.requests import DatasetRequest, ExtractRequest, accepts
from clip_adapter.runs import ExtractionRecord
from clip_adapter.runs import record_extraction as write_extraction
from clip_adapter.settings import Settings, check_writable
from feature_cache.exchange import find_imported

INDEXED_AGAIN = 3
"""How often a dataset whose files change while they are encoded is indexed again."""
IMAGES_A_PART = 2_000
"""Fewer images are not worth the start of a process that loads the encoder."""


@accepts(ExtractRequest)
def extract(
    request: ExtractRequest,
    *,
    executor: Executor = Executor(),  # noqa: B008  # has no state
    reporter: Reporter = Reporter(),  # noqa: B008  # as above
) -> EncodedDataset:
    """Index a dataset and encode the images and prompts that the store lacks.

    With `part` only the share of the images that falls to it is encoded. The request is recorded by the
    part that finds nothing missing at its end.

    Returns:
        The dataset with its features, and how many were encoded and reused.

    Raises:
        ClipAdapterError: a dataset, model or parameter cannot be used; the message says why.
        FeatureCacheError: the store cannot be read or written.
    """
    encoding = encoding_of(
        request, views=request.views, processes=request.processes, reporter=reporter
    )
    encoded, _ = index_and_encode(
        request, encoding, part=_part_of(request), executor=executor, reporter=reporter
    )
    if not encoded.n_missing:
        executor.call(record_request, request, command="extract", encoded=encoded)
    return encoded


def _part_of(request: ExtractRequest) -> Part | None:
    if request.part is None:
        return None
    number, of = map(int, request.part.split("/"))
    return Part(number=number - 1, of=of)


def encoding_of(
    request: DatasetRequest, *, views: int = 0, processes: int = 0, reporter: Reporter
) -> Encoding:
    """The encoder of a request, after checking that it and the dataset are available.

    Args:
        request: names the dataset and the model.
        views: number of augmented views of an image.
        processes: number of processes that load images; 0 for threads.
        reporter: where to report what takes seconds, and an encoder that does not suit the images.

    Raises:
        UnknownNameError: there is no dataset, architecture or tag of that name.
        DatasetError: the dataset is missing, its name is taken, or it takes no model or name.
        NotStoredError: no features were imported under that name.
        EncoderError: the weights are not available.
        UnavailableError: this machine has no such device.
    """
    places, images = request.places, Settings.folder(request.images)
    model = request.model
    if request.dataset.startswith(IMPORTED):
        check_is_folder(request.dataset, request.folder_options)
        find_imported(places.location, request.dataset.removeprefix(IMPORTED))
    else:
        name = expected_name(
            request.dataset,
            root=places.location,
            data=places.data_folder,
            images=images,
            options=request.folder_options,
        )
        model = choose_model(model, dataset=name, root=places.location, reporter=reporter)
    encoding = Encoding(
        model=model,
        device=request.device,
        precision=request.precision,
        resize=request.resize,
        preprocessing=request.preprocessing,
        views=views,
        augmentation=request.augmentation,
        processes=processes,
    )
    if not request.dataset.startswith(IMPORTED):
        encoding = encoding.look_up(places.location)
    encoding.check(request.dataset, images=images, reporter=reporter)
    return encoding


def index_and_encode(
    request: DatasetRequest,
    encoding: Encoding,
    *,
    choices: SplitSpec | None = None,
    templates: Sequence[str] | None = None,
    part: Part | None = None,
    executor: Executor,
    reporter: Reporter,
) -> tuple[EncodedDataset, list[FewShotSplit]]:
    """Index the dataset of a request, and encode what the store lacks.

    An image file that changes or vanishes in between is reported, and the dataset is indexed again, at
    most `INDEXED_AGAIN` times. Images known by then are neither decoded nor encoded again; the
    counts of the result are those of the last time.

    Args:
        request: names the dataset and its folders.
        encoding: the encoder and the views.
        choices: the few-shot splits, whose training images get augmented views; all images get them
            when None.
        templates: prompts with one {} for the class name, instead of those of the dataset.
        part: share of the images to encode; all when None.
        executor: runs the steps.
        reporter: where to report progress, unreadable files and files that changed.

    Returns:
        The dataset with its features, and the few-shot splits.

    Raises:
        UnavailableError: nothing can be written to the root.
        DatasetError: the dataset is missing, or too many of its files are unreadable.
        NotStoredError: no features were imported under that name, or some are missing.
        EncoderError: the model cannot be loaded, or a feature is infinite or NaN.
        ImageError: image files keep changing.
    """
    n_changed = 0
    while True:
        dataset = index_requested(
            request,
            templates=templates,
            skip_short=choices.skip_short if choices else (),
            validation=choices is None or choices.validation,
            executor=executor,
            reporter=reporter,
        )
        splits = choices.splits(dataset.index) if choices else []
        try:
            encoded = encode_in_parts(
                dataset,
                encoding,
                view_rows=training_rows(splits) if choices else None,
                parts=request.parts,
                part=part,
                executor=executor,
                reporter=reporter,
            )
        except ImageError as error:
            n_changed += 1
            if error.changed_file is None or n_changed > INDEXED_AGAIN:
                raise
            changed = escape_control_characters(error.changed_file)
            reporter.log(f"{changed} changed or vanished after it was indexed: indexing again")
        else:
            if choices and choices.budget is not None:
                log_draws(splits, dataset.index, reporter=reporter)
            else:
                log_short_classes(splits, dataset.index, reporter=reporter)
            return encoded, splits


def index_requested(
    request: DatasetRequest,
    *,
    templates: Sequence[str] | None = None,
    skip_short: Sequence[int] = (),
    validation: bool = True,
    executor: Executor,
    reporter: Reporter,
) -> IndexedDataset:
    """Index the dataset of a request.

    Args:
        request: names the dataset and its folders.
        templates: prompts with one {} for the class name, instead of those of the dataset.
        skip_short: numbers of shots; a class with too few images for one of them is left out.
        validation: whether images to validate are counted among those that a class needs.
        executor: runs the step.
        reporter: where to report progress and unreadable files.

    Raises:
        UnavailableError: nothing can be written to the root.
        DatasetError: the dataset is missing, too many of its files are unreadable, or fewer than two
            classes have enough images.
        NotStoredError: no features were imported under that name.
    """
    places = request.places
    if isinstance(places.location, Path):
        check_writable(places.location)
    if not request.dataset.startswith(IMPORTED):
        reporter.log(f"indexing {request.dataset}")  # before the first second of silence
    return executor.call(
        index_dataset,
        request.dataset,
        root=places.location,
        data=places.data_folder,
        images=Settings.folder(request.images),
        options=request.folder_options,
        max_bad_fraction=request.max_bad_fraction,
        templates=templates,
        skip_short=skip_short,
        validation=validation,
        reporter=reporter,
    )


def encode_in_parts(
    dataset: IndexedDataset,
    encoding: Encoding,
    *,
    view_rows: Sequence[int] | None = None,
    parts: int | None = None,
    part: Part | None = None,
    executor: Executor,
    reporter: Reporter,
) -> EncodedDataset:
    """Encode what the store lacks, split by ranges of images, and record how long that took.

    Each part writes its own files into the store. What a worker stored before it died is kept, and
    the next call encodes the rest. Errors of parts are raised when all parts have ended.

    Args:
        dataset: an indexed dataset.
        encoding: the encoder and the views.
        view_rows: the rows of the images that get augmented views; all when None.
        parts: number of ranges; chosen by the executor when None.
        part: share of the images to encode, in one piece; all when None.
        executor: runs the parts.
        reporter: where to report progress.

    Raises:
        EncoderError: the model cannot be loaded.
        ImageError: an image file changed or vanished after it was indexed.
        EncoderError: a feature is infinite or NaN.
        NotStoredError: some imported features are missing.
    """
    worth_a_part = len(dataset.index.paths) // IMAGES_A_PART
    parts = 1 if part else executor.parts(parts, most=max(1, worth_a_part))
    asked: dict[str, Any] = {"view_rows": view_rows, "reporter": reporter}
    made = []
    if parts > 1 and not dataset.is_imported:
        ranges = [Part(number=number, of=parts) for number in range(parts)]
        outcomes = executor.map(encode_images, ranges, dataset=dataset, encoding=encoding, **asked)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            made.append(outcome)
    # After the parts all images are stored: prompts and the merging of small files are left.
    whole = executor.call(
        encode_dataset, dataset, encoding, view_rows=view_rows, part=part, reporter=reporter
    )
    # A scheduler may have pickled the dataset; this one has its index already.
    whole = replace(whole, dataset=dataset)
    n_encoded = sum(each.n_encoded for each in made)
    encoded = replace(
        whole,
        n_encoded=whole.n_encoded + n_encoded,
        n_reused=whole.n_reused - n_encoded,
        seconds=whole.seconds + sum(each.seconds for each in made),
    )
    if encoded.n_encoded:
        executor.call(record_extraction, encoded, device=choose_device(encoding.device))
    return encoded


@not_retried
def record_extraction(encoded: EncodedDataset, *, device: str) -> None:
    """Record how many images were encoded in how many seconds."""
    write_extraction(
        encoded.dataset.root,
        ExtractionRecord(
            extraction_id=uuid.uuid4().hex,
            started_at=datetime.now(UTC) - timedelta(seconds=encoded.seconds),
            dataset=encoded.dataset.name,
            index_fingerprint=encoded.dataset.index_fingerprint,
            encoder=encoded.encoder,
            model=encoded.model,
            device=device,
            n_encoded=encoded.n_encoded,
            n_reused=encoded.n_reused,
            seconds=encoded.seconds,
        ),
    )
