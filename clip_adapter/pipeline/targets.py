"""Opens and encodes the datasets on which classifiers of another dataset are tested."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from clip_adapter.datasets import IMPORTED, DatasetError, DatasetIndex, FolderOptions
from clip_adapter.methods import Method
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.extract import encode_in_parts, index_requested
from clip_adapter.pipeline.identity import expected_name
from clip_adapter.pipeline.index import IndexedDataset
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import DatasetRequest, SweepRequest
from clip_adapter.pipeline.transfer import Target, is_tested_on_new_classes, match_classes
from feature_cache.exchange import find_imported

Value = TypeVar("Value")


def check_targets(request: SweepRequest) -> None:
    """Raise if a dataset to test on cannot be opened, before anything is encoded.

    Raises:
        UnknownNameError: there is no dataset of that name.
        DatasetError: the images of a dataset are missing, or it is the one that is trained on.
        NotStoredError: no features were imported under that name.
    """
    for name in request.test_on or ():
        if name == request.dataset:
            raise DatasetError(
                f"--test-on {name} is the dataset that is trained on, whose test split is used anyway: "
                "leave it out, or name another one"
            )
        if name.startswith(IMPORTED):
            find_imported(request.location, name.removeprefix(IMPORTED))
        else:
            places = request.places
            expected_name(
                name,
                root=places.location,
                data=places.data_folder,
                options=_options(request),
            )


def encode_targets(
    request: SweepRequest,
    encoding: Encoding,
    source: EncodedDataset,
    *,
    executor: Executor,
    reporter: Reporter,
) -> list[Target]:
    """Index the datasets to test on, and encode the images of their test splits that the store lacks.

    Args:
        request: names the datasets.
        encoding: the encoder of the dataset that is trained on.
        source: that dataset.
        executor: runs the steps.
        reporter: where to report progress, and how the classes of each are known.

    Raises:
        DatasetError: a dataset is missing, has no test images, is named twice, or was encoded by another
            encoder.
        EncoderError: the model cannot be loaded.
    """
    targets: list[Target] = []
    for name in dict.fromkeys(request.test_on or ()):
        of_target = request_on(request, name)
        dataset = index_requested(of_target, executor=executor, reporter=reporter)
        _check_is_other(dataset, [source, *(each.encoded for each in targets)])
        encoded = encode_in_parts(
            _tested_alone(dataset),
            encoding,
            view_rows=(),
            parts=request.parts,
            executor=executor,
            reporter=reporter,
        )
        if encoded.encoder != source.encoder:
            raise DatasetError(
                f"the features of {name} were made by another encoder than those of "
                f"{source.dataset.name}: {encoded.model}, not {source.model}; test on a dataset of the "
                "same encoder"
            )
        columns = match_classes(source.dataset.class_names, dataset.class_names)
        target = Target(encoded=encoded, columns=columns)
        _report(target, source, reporter)
        targets.append(target)
    return targets


def log_left_out(
    methods: Sequence[Method], targets: Sequence[Target], *, reporter: Reporter
) -> None:
    """Report the methods that are not tested on datasets with classes of their own."""
    names = [method.name for method in methods if not is_tested_on_new_classes(method)]
    on = [each.encoded.dataset.name for each in targets if each.columns is None]
    if names and on:
        reporter.warn(
            f"{', '.join(names)} is not tested on {', '.join(on)}, whose classes are others: a classifier "
            "without class prototypes knows no class by its name, and learned prompts are not kept for other "
            "names"
        )


def request_on(request: SweepRequest, name: str) -> DatasetRequest:
    """The request for another dataset, without the options of the folder of the dataset that is trained on."""
    return DatasetRequest(
        root=request.root,
        data=request.data,
        dataset=name,
        device=request.device,
        follow_links=request.follow_links if not name.startswith(IMPORTED) else None,
        max_pixels=request.max_pixels,
        max_bad_fraction=request.max_bad_fraction,
        parts=request.parts,
    )


def _options(request: SweepRequest) -> FolderOptions:
    return FolderOptions(read=request.folder_options.read)


def _check_is_other(dataset: IndexedDataset, others: Sequence[EncodedDataset]) -> None:
    if dataset.name in {each.dataset.name for each in others}:
        raise DatasetError(
            f"two of the datasets are called {dataset.name!r}: name each dataset once, and leave out the one "
            "that is trained on"
        )
    if not len(dataset.index.rows("test")):
        raise DatasetError(
            f"dataset {dataset.name!r} has no test image to test on: sort its images into a folder test, or "
            "name another dataset"
        )


def _tested_alone(dataset: IndexedDataset) -> IndexedDataset:
    """The dataset with the rows of its test split alone, so that no other image is encoded."""
    if dataset.is_imported:
        return dataset
    index = dataset.index
    rows = index.rows("test")

    def chosen(column: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(column[row] for row in rows)

    of_test: DatasetIndex = replace(
        index,
        paths=chosen(index.paths),
        image_sha256=chosen(index.image_sha256),
        labels=index.labels[rows],
        splits=chosen(index.splits),
        groups=chosen(index.groups),
        widths=index.widths[rows],
        heights=index.heights[rows],
        n_bytes=index.n_bytes[rows],
    )
    return dataset.with_index(of_test)


def _report(target: Target, source: EncodedDataset, reporter: Reporter) -> None:
    names, known = target.encoded.dataset.class_names, source.dataset.class_names
    subset = f" ({len(names)} of {len(known)})" if len(names) < len(known) else ""
    kinds = {
        "domain-shift": f"a domain shift: its classes are classes of {source.dataset.name}{subset}",
        "cross-dataset": f"other classes: its {len(names)} names are known by their text",
    }
    reporter.log(f"{target.encoded.dataset.name} is {kinds[target.protocol]}")
