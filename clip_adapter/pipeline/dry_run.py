"""What a training request would do, without decoding an image or writing anything."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clip_adapter.datasets import (
    GENERATED,
    DatasetError,
    DatasetIndex,
    FewShotSplit,
    ImageSource,
    describe,
    known_names,
    listed_source,
    open_dataset,
)
from clip_adapter.errors import ClipAdapterError, UnknownNameError
from clip_adapter.pipeline.datasets import known_datasets, read_dataset, stored_names
from clip_adapter.pipeline.identity import stored_name
from clip_adapter.pipeline.open_vocabulary import base_splits, count_base_classes
from clip_adapter.pipeline.plan import SplitSpec
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import DatasetRequest, TrainRequest
from clip_adapter.pipeline.targets import request_on
from clip_adapter.pipeline.train import methods_of_budget, requested_methods
from clip_adapter.pipeline.transfer import is_tested_on_new_classes, match_classes
from clip_adapter.settings import Settings

RankedBy = Literal["content", "path"]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The images of one few-shot split.

    Attributes:
        shots: number of training images a class.
        seed: seed of the sample.
        train: paths of the images to train on, class by class.
        val: paths of the images that are set aside to validate, class by class.
    """

    shots: int
    seed: int
    train: tuple[str, ...]
    val: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over all paths, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps([self.train, self.val]).encode("ascii")).hexdigest()


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a training request would do.

    Attributes:
        dataset: dataset as the request names it.
        state: what of it is on this machine, in a few words.
        next_step: what to do before it can be trained on; empty if nothing is.
        methods: names of the methods.
        n_runs: number of runs, recorded ones included. A method that does not learn has one, and each training
            one more for each dataset on which its classifier can be tested as well.
        ranked_by: "content" if the draws are those that training takes, "path" if the contents of the
            images are not known, so that they are ranked by their paths; None if nothing is drawn.
        draws: the few-shot splits, ordered by shots, then seeds.
        problem: why nothing is drawn; empty if it is.
    """

    dataset: str
    state: str
    next_step: str
    methods: tuple[str, ...]
    n_runs: int
    ranked_by: RankedBy | None
    draws: tuple[Draw, ...]
    problem: str


def dry_run(request: TrainRequest, *, reporter: Reporter) -> DryRun:
    """Find out what `train` would do with a request; nothing is written, and no image is decoded.

    The few-shot splits are those that training takes if the dataset is indexed in the store. Otherwise
    images are ranked by SHA-256 of their paths in the split file, in place of their contents: as many
    images of each class and split, the same on every machine, but others than training takes.

    Raises:
        UnknownNameError: there is no such dataset, method or setting.
        SettingsError: a value is invalid.
    """
    methods = requested_methods(request, reporter=reporter)
    n_splits = len(set(request.seeds)) * (1 if request.budget else len(set(request.shots)))
    n_targets, n_shifts = len(set(request.test_on or ())), 0
    state, next_step = _state(request)
    ranked_by: RankedBy | None = None
    draws: tuple[Draw, ...] = ()
    problem = ""
    try:
        index, ranked_by = _index(request)
        splits = SplitSpec.of(request).splits(index)
        if request.protocol == "base-to-new":
            n_base = count_base_classes(index.source)
            splits = base_splits(splits, index.labels, n_base=n_base)
        elif request.budget is not None:
            methods = methods_of_budget(methods, splits, request, index, reporter)
        if not all(map(is_tested_on_new_classes, methods)):
            n_shifts = _count_shifts(request, index.source.class_names)
        draws = tuple(_draw(index, each) for each in splits)
    except UnknownNameError:
        raise
    except ClipAdapterError as error:
        ranked_by, problem = None, str(error)
    return DryRun(
        dataset=request.dataset,
        state=state,
        next_step=next_step,
        methods=tuple(method.name for method in methods),
        n_runs=sum(
            (n_splits if method.learns else 1)
            * (1 + (n_targets if is_tested_on_new_classes(method) else n_shifts))
            for method in methods
        ),
        ranked_by=ranked_by,
        draws=draws,
        problem=problem,
    )


def _count_shifts(request: TrainRequest, class_names: Sequence[str]) -> int:
    """The number of datasets to test on whose classes are all among these by name."""
    targets = [request_on(request, name) for name in dict.fromkeys(request.test_on or ())]
    return sum(match_classes(class_names, _class_names(each)) is not None for each in targets)


def _class_names(request: DatasetRequest) -> Sequence[str]:
    root = request.location
    name = stored_name(request.dataset, root=root)
    if name in stored_names(root):
        index = read_dataset(root, name, data=request.places.data_folder).index
        return index.source.class_names
    if request.dataset in known_names():
        return describe(request.dataset).class_names
    if request.dataset in GENERATED:
        raise DatasetError(f"the classes of {request.dataset} are known once it is trained on")
    return _source(request).class_names


def _state(request: TrainRequest) -> tuple[str, str]:
    """Which files of the dataset are present, and what to do before it can be trained on."""
    if request.dataset in known_names() and request.images is None:
        known = next(
            each
            for each in known_datasets(request.places.data_folder)
            if each.name == request.dataset
        )
        return known.state, "" if known.is_present else known.next_step
    return "", ""


def _index(request: TrainRequest) -> tuple[DatasetIndex, RankedBy]:
    """The index of the store, else one in which the path of an image stands for its content."""
    root = request.location
    name = request.name or stored_name(request.dataset, root=root)
    if name in stored_names(root):
        return read_dataset(root, name, data=request.places.data_folder).index, "content"
    if request.dataset in GENERATED:
        raise DatasetError("its images are generated when it is trained on")
    return _index_by_paths(_source(request)), "path"


def _source(request: DatasetRequest) -> ImageSource:
    """The source of the images; of a described dataset, its split file is enough."""
    data, images = request.places.data_folder, Settings.folder(request.images)
    if request.dataset in known_names():
        described = describe(request.dataset)
        listed = listed_source(described, images or described.folder_in(data))
        if listed is not None:
            return listed
    return open_dataset(request.dataset, data=data, images=images, options=request.folder_options)


def _index_by_paths(source: ImageSource) -> DatasetIndex:
    files = sorted(source.files, key=lambda file: file.path)
    splits = [file.split for file in files if file.split is not None]
    if len(splits) < len(files):
        raise DatasetError(
            "which images train follows from their contents, which a dry run does not read; `clip-adapter "
            "extract` indexes them"
        )
    nothing = np.zeros(len(files), dtype=np.int32)
    return DatasetIndex(
        source=source,
        paths=tuple(file.path for file in files),
        image_sha256=tuple(
            hashlib.sha256(file.path.encode("utf-8", "surrogateescape")).digest() for file in files
        ),
        labels=np.array([file.label for file in files], dtype=np.int64),
        splits=tuple(splits),
        groups=tuple(file.group for file in files),
        widths=nothing,
        heights=nothing,
        n_bytes=nothing.astype(np.int64),
        quarantined=(),
    )


def _draw(index: DatasetIndex, split: FewShotSplit) -> Draw:
    return Draw(
        shots=split.shots,
        seed=split.seed,
        train=_paths(index, split.train_rows.tolist()),
        val=_paths(index, split.val_rows.tolist()),
    )


def _paths(index: DatasetIndex, rows: Sequence[int]) -> tuple[str, ...]:
    return tuple(index.paths[row] for row in rows)
