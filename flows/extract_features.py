"""Encode a dataset once; a second run finds everything there."""

from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from pydantic import Field

from clip_adapter.encoders import Precision
from clip_adapter.images import Augmentation, ResizeMode
from clip_adapter.settings import Settings
from tasks.devices import choose_device
from tasks.encode_in_parts import encode_in_parts
from tasks.imported_features import check_encoding
from tasks.index_dataset import index_dataset
from tasks.late_runs import skip_if_late
from tasks.parameters import Fraction
from tasks.references import EncodedDataset, Encoding
from tasks.runners import choose_task_runner

__all__ = ["extract_features"]


@flow(name="extract-features", result_serializer="json", task_runner=choose_task_runner())
def extract_features(
    dataset: str = "digits",
    model: str | None = None,
    *,
    images: str | None = None,
    root: str | None = None,
    data: str | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    resize: ResizeMode | None = None,
    views: Annotated[int, Field(ge=0, lt=10_000)] = 0,
    augmentation: Augmentation = "tip-adapter",
    processes: Annotated[int, Field(ge=0, le=1024)] = 0,
    max_bad_fraction: Fraction = 0.05,
    parts: Annotated[int, Field(ge=1, le=4096)] | None = None,
) -> EncodedDataset | State[Any]:
    """Index a dataset and encode the images and prompts the cache lacks.

    Args:
        dataset: digits, eurosat, imagefolder:PATH, or features:NAME of imported features.
        model: glyphs, ARCHITECTURE:TAG, ARCHITECTURE:PATH, hf-hub:ORG/REPO or local-dir:FOLDER;
            glyphs by default, and none for imported features.
        images: the folder of this dataset, instead of one in `data`.
        root: the folder or URL of everything at rest; else CLIP_ADAPTER_ROOT.
        data: the folder of dataset folders; else CLIP_ADAPTER_DATA, else ROOT/images.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: fp32, bf16 or fp16; another precision is another encoder.
        resize: shortest (CLIP), squash (CoOp) or longest; else as the model was trained.
        views: augmented views to encode of every image, beside the evaluation view.
        augmentation: how views are drawn: tip-adapter or coop.
        processes: load images in so many processes; 0 for threads.
        max_bad_fraction: fail if more of the files than this are unreadable.
        parts: split the images into so many ranges, for a Dask cluster one to four a worker; with
            CLIP_ADAPTER_DASK=local:N it is N, else there is a single one.
    """
    if skipped := skip_if_late():
        return skipped
    encoding = Encoding(
        model=model,
        device=choose_device(device),
        precision=precision,
        resize=resize,
        views=views,
        augmentation=augmentation,
        processes=processes,
    )
    check_encoding(dataset, encoding, images=images)
    places = Settings.of(root=root, data=data)
    indexed = index_dataset(
        dataset,
        root=places.location,
        data=places.data_folder,
        images=Settings.folder(images),
        max_bad_fraction=max_bad_fraction,
    )
    encoded = encode_in_parts(indexed, encoding, parts=parts)
    get_run_logger().info(encoded.summary)
    return encoded
