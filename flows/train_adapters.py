"""The main job: features from the cache, few-shot methods on top, results on record."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.client.schemas import State
from prefect.states import Completed
from pydantic import Field

from clip_adapter.encoders import Precision
from clip_adapter.images import Augmentation, ResizeMode
from clip_adapter.methods import create_method
from clip_adapter.settings import Settings
from tasks.challengers import check_can_promote
from tasks.devices import choose_device
from tasks.encode_in_parts import encode_in_parts
from tasks.late_runs import skip_if_late
from tasks.parameters import Fraction, Methods, Seeds, Shots
from tasks.places import index_for_training
from tasks.plans import FewShotChoices, training_rows, with_views
from tasks.promotion import decide_promotion
from tasks.publish_leaderboard import publish_leaderboard
from tasks.publish_summary import publish_summary
from tasks.references import EncodedDataset, Encoding, Promotion, TrainedRuns
from tasks.runners import choose_task_runner
from tasks.train_in_parts import train_in_parts

__all__ = ["Trained", "train_adapters"]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What one run of the flow did.

    Attributes:
        encoded: the dataset with its features.
        runs: how many were trained now, and how many before.
        promotion: what was decided about the champion; None if that was not asked.
    """

    encoded: EncodedDataset
    runs: TrainedRuns
    promotion: Promotion | None = None

    @property
    def is_up_to_date(self) -> bool:
        """Whether there was nothing to encode, to train and to decide."""
        n_done = self.encoded.n_encoded + self.encoded.n_prompts_encoded + self.runs.n_trained
        return n_done == 0 and not (self.promotion and self.promotion.is_new)


@flow(name="train-adapters", result_serializer="json", task_runner=choose_task_runner())
def train_adapters(
    dataset: str = "digits",
    model: str | None = None,
    *,
    methods: Methods = ["zero-shot", "linear-probe", "clip-adapter"],  # noqa: B006  # a flow's defaults are shown as JSON and never changed
    shots: Shots = [1, 2, 4, 8, 16],  # noqa: B006  # the same
    seeds: Seeds = [1, 2, 3],  # noqa: B006  # the same
    settings: dict[str, dict[str, Any]] | None = None,
    templates: list[str] | None = None,
    few_shot_indices: str | None = None,
    augmentation: Augmentation = "tip-adapter",
    study: str | None = None,
    images: str | None = None,
    root: str | None = None,
    data: str | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    resize: ResizeMode | None = None,
    max_bad_fraction: Fraction = 0.05,
    retrain: bool = False,
    promote: bool = False,
    max_relabelled_fraction: Fraction = 0.05,
    parts: Annotated[int, Field(ge=1, le=4096)] | None = None,
) -> Trained | State[Any]:
    """Train every method at every shot and seed; what is on record is not trained again.

    Where nothing was left to do the flow run ends in the state UpToDate.

    Args:
        dataset: digits, eurosat, imagefolder:PATH, or features:NAME of imported features.
        model: glyphs, ARCHITECTURE:TAG, ARCHITECTURE:PATH, hf-hub:ORG/REPO or local-dir:FOLDER;
            glyphs by default, and none for imported features.
        methods: names of methods; `clip-adapter methods` lists them.
        shots: labelled images a class.
        seeds: one few-shot choice, initialisation and visiting order each.
        settings: by method, what differs from its defaults, as {"clip-adapter": {"epochs": 20}}.
        templates: prompts with one {} for the class name, instead of the dataset's own.
        few_shot_indices: folder of published choices, shot_{K}-seed_{S}.json, instead of ours.
        augmentation: how views of training images are drawn, for methods that train on some.
        study: a name for runs that vary what a leaderboard holds still; they stand on none.
        images: the folder of this dataset, instead of one in `data`.
        root: the folder or URL of everything at rest; else CLIP_ADAPTER_ROOT.
        data: the folder of dataset folders; else CLIP_ADAPTER_DATA, else ROOT/images.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: of the encoder: fp32, bf16 or fp16.
        resize: shortest (CLIP), squash (CoOp) or longest; else as the model was trained.
        max_bad_fraction: fail if more of the files than this are unreadable.
        retrain: train again what is on record.
        promote: let the best method on validation reign if it is proven better than the champion.
        max_relabelled_fraction: refuse it if more images than this changed their class.
        parts: split extraction and training into about so many tasks, for a Dask cluster one to
            four a worker; with CLIP_ADAPTER_DASK=local:N it is N, else a single one.
    """
    if skipped := skip_if_late():
        return skipped
    wanted = [
        create_method(each, (settings or {}).get(each)) for each in {*methods, *(settings or {})}
    ]
    if promote:
        check_can_promote(each for each in wanted if each.name in methods)
    encoding = Encoding(
        model=model,
        device=choose_device(device),
        precision=precision,
        resize=resize,
        augmentation=augmentation,
    )
    indexed = index_for_training(
        dataset,
        encoding=encoding,
        images=images,
        root=root,
        data=data,
        max_bad_fraction=max_bad_fraction,
        templates=templates,
    )
    choices = FewShotChoices(shots=shots, seeds=seeds, indices=Settings.folder(few_shot_indices))
    rows = training_rows(indexed, choices)
    encoded = encode_in_parts(indexed, with_views(encoding, wanted), view_rows=rows, parts=parts)
    get_run_logger().info(encoded.summary)
    asked: dict[str, Any] = {"methods": methods, "settings": settings, "study": study}
    runs = _train(encoded, encoding, choices, parts=parts, retrain=retrain, **asked)
    decide = partial(_decide, encoded, encoding, choices, runs=runs, **asked)
    promotion = decide(max_relabelled_fraction=max_relabelled_fraction) if promote else None
    trained = Trained(encoded=encoded, runs=runs, promotion=promotion)
    return _up_to_date(trained) if trained.is_up_to_date else _published(trained, encoding)


def _train(
    encoded: EncodedDataset, encoding: Encoding, choices: FewShotChoices, **asked: Any
) -> TrainedRuns:
    runs = train_in_parts(
        encoded,
        shots=choices.shots,
        seeds=choices.seeds,
        few_shot_indices=choices.indices,
        encoding=encoding,
        device=encoding.device,
        **asked,
    )
    get_run_logger().info(
        f"{runs.n_trained} runs trained in {runs.seconds:.1f} s, {runs.n_reused} on record already"
    )
    return runs


def _decide(
    encoded: EncodedDataset,
    encoding: Encoding,
    choices: FewShotChoices,
    *,
    runs: TrainedRuns,
    **asked: Any,
) -> Promotion:
    promotion: Promotion = decide_promotion(
        encoded, runs, choices=choices, encoding=encoding, device=encoding.device, **asked
    )
    get_run_logger().info(promotion.summary)
    return promotion


def _published(trained: Trained, encoding: Encoding) -> Trained:
    dataset = trained.encoded.dataset
    publish_leaderboard(root=dataset.root, dataset=dataset.name)
    decision = trained.promotion.summary if trained.promotion else ""
    publish_summary(trained.encoded, trained.runs, device=encoding.device, decision=decision)
    return trained


def _up_to_date(trained: Trained) -> State[Trained]:
    """Whoever calls the flow gets what there is, as from a run that did something."""
    message = f"{trained.encoded.n_reused} features and {trained.runs.n_reused} runs on record"
    if trained.promotion:
        message += f"; {trained.promotion.summary}"
    return Completed(name="UpToDate", message=message, data=trained)
