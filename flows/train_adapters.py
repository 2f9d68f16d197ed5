"""The main job: features from the cache, few-shot methods on top, results on record."""

from dataclasses import dataclass
from typing import Annotated, Any

from prefect import flow, get_run_logger
from pydantic import Field

from clip_adapter.encoders import Precision
from clip_adapter.images import ResizeMode
from clip_adapter.methods import create_method
from clip_adapter.settings import Settings
from tasks.devices import choose_device
from tasks.encode_dataset import encode_dataset
from tasks.imported_features import check_encoding
from tasks.index_dataset import index_dataset
from tasks.plans import check_splits
from tasks.publish_leaderboard import publish_leaderboard
from tasks.references import EncodedDataset, Encoding, TrainedRuns
from tasks.train_methods import train_methods

__all__ = ["Trained", "train_adapters"]


Shots = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What one run of the flow did."""

    encoded: EncodedDataset
    runs: TrainedRuns


@flow(name="train-adapters", result_serializer="json")
def train_adapters(
    dataset: str = "digits",
    model: str | None = None,
    *,
    methods: list[str] = ["zero-shot", "linear-probe", "clip-adapter"],  # noqa: B006  # a flow's defaults are shown as JSON and never changed
    shots: list[Shots] = [1, 2, 4, 8, 16],  # noqa: B006  # the same
    seeds: list[Seed] = [1, 2, 3],  # noqa: B006  # the same
    settings: dict[str, dict[str, Any]] | None = None,
    images: str | None = None,
    root: str | None = None,
    data: str | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    resize: ResizeMode | None = None,
    max_bad_fraction: float = 0.05,
    retrain: bool = False,
) -> Trained:
    """Train every method at every shot and seed; what is on record is not trained again.

    Args:
        dataset: digits, eurosat, imagefolder:PATH, or features:NAME of imported features.
        model: glyphs, ARCHITECTURE:TAG, ARCHITECTURE:PATH, hf-hub:ORG/REPO or local-dir:FOLDER;
            glyphs by default, and none for imported features.
        methods: zero-shot, linear-probe, clip-adapter.
        shots: labelled images a class.
        seeds: one few-shot choice, initialisation and visiting order each.
        settings: by method, what differs from its defaults, as {"clip-adapter": {"epochs": 20}}.
        images: the folder of this dataset, instead of one in `data`.
        root: the folder or URL of everything at rest; else CLIP_ADAPTER_ROOT.
        data: the folder of dataset folders; else CLIP_ADAPTER_DATA, else ROOT/images.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: of the encoder: fp32, bf16 or fp16.
        resize: shortest (CLIP), squash (CoOp) or longest; else as the model was trained.
        max_bad_fraction: fail if more of the files than this are unreadable.
        retrain: train again what is on record.
    """
    for method in {*methods, *(settings or {})}:
        create_method(method, (settings or {}).get(method))
    device = choose_device(device)
    encoding = Encoding(model=model, device=device, precision=precision, resize=resize)
    check_encoding(dataset, encoding, images=images)
    places = Settings.of(root=root, data=data)
    indexed = index_dataset(
        dataset,
        root=places.location,
        data=places.data_folder,
        images=Settings.folder(images),
        max_bad_fraction=max_bad_fraction,
    )
    check_splits(indexed, shots=shots, seeds=seeds)
    encoded = encode_dataset(indexed, encoding)
    get_run_logger().info(encoded.summary)
    runs = train_methods(
        encoded,
        methods=methods,
        shots=shots,
        seeds=seeds,
        settings=settings,
        device=device,
        retrain=retrain,
    )
    get_run_logger().info(
        f"{runs.n_trained} runs trained in {runs.seconds:.1f} s, {runs.n_reused} on record already"
    )
    publish_leaderboard(root=encoded.dataset.root, dataset=encoded.dataset.name)
    return Trained(encoded=encoded, runs=runs)
