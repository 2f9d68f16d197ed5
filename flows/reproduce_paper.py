"""One of the paper's ablations, on features from the cache, under the one rule."""

from dataclasses import dataclass
from typing import Any, Literal

from prefect import flow, get_run_logger

from clip_adapter.encoders import Precision
from clip_adapter.images import Augmentation, ResizeMode
from clip_adapter.methods import create_method
from clip_adapter.settings import Settings
from clip_adapter.studies import StudyName
from tasks.devices import choose_device
from tasks.encode_dataset import encode_dataset
from tasks.parameters import Fraction, Seeds, Shots
from tasks.places import index_for_training
from tasks.plans import FewShotChoices, training_rows, with_views
from tasks.references import EncodedDataset, Encoding, TrainedRuns
from tasks.studies import STUDIES, Variant
from tasks.train_methods import train_methods

__all__ = ["Reproduced", "reproduce_paper"]


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """What one run of the flow did: the runs of every variant, and the features they used."""

    study: str
    encoded: EncodedDataset
    variants: tuple[TrainedRuns, ...]

    @property
    def n_trained(self) -> int:
        """Runs recorded now."""
        return sum(runs.n_trained for runs in self.variants)

    @property
    def n_reused(self) -> int:
        """Runs that were on record already."""
        return sum(runs.n_reused for runs in self.variants)


@flow(name="reproduce-paper", result_serializer="json")
def reproduce_paper(
    study: StudyName,
    dataset: str = "digits",
    model: str | None = None,
    *,
    shots: Shots = [1, 2, 4, 8, 16],  # noqa: B006  # a flow's defaults are shown as JSON and never changed
    seeds: Seeds = [1, 2, 3],  # noqa: B006  # the same
    recipe: Literal["paper", "fast"] = "paper",
    few_shot_indices: str | None = None,
    augmentation: Augmentation = "coop",
    images: str | None = None,
    root: str | None = None,
    data: str | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    resize: ResizeMode | None = None,
    max_bad_fraction: Fraction = 0.05,
) -> Reproduced:
    """Train CLIP-Adapter once for every variant of a study, shot and seed.

    Args:
        study: what is varied.
        dataset: as `train-adapters` takes it.
        model: as `train-adapters` takes it.
        shots: labelled images a class.
        seeds: one few-shot choice, initialisation and visiting order each.
        recipe: the paper's training, or our fast one.
        few_shot_indices: folder of published choices, shot_{K}-seed_{S}.json, instead of ours.
        augmentation: how views of training images are drawn, coop as CLIP-Adapter's authors.
        images: the folder of this dataset, instead of one in `data`.
        root: the folder or URL of everything at rest; else CLIP_ADAPTER_ROOT.
        data: the folder of dataset folders; else CLIP_ADAPTER_DATA, else ROOT/images.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: of the encoder: fp32, bf16 or fp16.
        resize: shortest (CLIP), squash (CoOp) or longest; else as the model was trained.
        max_bad_fraction: fail if more of the files than this are unreadable.
    """
    asked = [{**variant.settings, "recipe": recipe} for variant in STUDIES[study]]
    methods = [create_method("clip-adapter", settings) for settings in asked]
    device = choose_device(device)
    encoding = Encoding(
        model=model, device=device, precision=precision, resize=resize, augmentation=augmentation
    )
    indexed = index_for_training(
        dataset,
        encoding=encoding,
        images=images,
        root=root,
        data=data,
        max_bad_fraction=max_bad_fraction,
    )
    choices = FewShotChoices(shots=shots, seeds=seeds, indices=Settings.folder(few_shot_indices))
    viewed, rows = with_views(encoding, methods), training_rows(indexed, choices)
    runs = []
    for variant, settings in zip(STUDIES[study], asked, strict=True):
        encoded = encode_dataset(indexed.prompted(variant.templates), viewed, view_rows=rows)
        get_run_logger().info(f"{study}: {variant.name}")
        runs.append(_train(encoded, variant, settings, study=study, choices=choices, device=device))
    return Reproduced(study=study, encoded=encoded, variants=tuple(runs))


def _train(
    encoded: EncodedDataset,
    variant: Variant,
    settings: dict[str, Any],
    *,
    study: str,
    choices: FewShotChoices,
    device: str,
) -> TrainedRuns:
    return train_methods(
        encoded,
        methods=["clip-adapter"],
        shots=[shots for shots in choices.shots if shots >= variant.fewest_shots],
        seeds=choices.seeds,
        few_shot_indices=choices.indices,
        settings={"clip-adapter": settings},
        device=device,
        study=study,
        variant=variant.name,
    )
