"""Requests to the pipeline: models that define each parameter with default, range and description.

The parameters of the flows and the options of the commands are generated from these models.
"""

import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from itertools import product
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    cast,
    get_args,
    get_type_hints,
    overload,
)

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from clip_adapter.datasets import PROMPT_STYLES, FolderOptions, canonical_name
from clip_adapter.encoders import BUILT_IN, DEFAULT_MODEL, Precision
from clip_adapter.errors import ParameterError, UnknownNameError
from clip_adapter.images import MAX_PIXELS, Augmentation, ReadOptions, ResizeMode
from clip_adapter.methods.selection import Selection
from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.settings import Settings
from clip_adapter.shots import ALL_SHOTS
from feature_cache import Location

StudyName = Literal[
    "bottleneck-width",
    "residual-ratio",
    "branch",
    "prompt-style",
    "views",
    "output-activation",
    "ratio-mode",
    "open-vocabulary",
    "selection",
    "rivals",
    "published",
    "paper",
]
ALL_DATASETS = "all"
"""Every known dataset whose images are present, in place of the name of one."""
MAX_PARTS = 4096
STUDY_NAMES: tuple[StudyName, ...] = get_args(StudyName)


def _as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _as_names(value: Any) -> Any:
    """One name, or several, as a list of text."""
    if isinstance(value, str | os.PathLike):
        return [os.fspath(value)]
    if isinstance(value, Iterable):
        value = list(map(_as_text, value))
    if not value:
        message = "expected one name or more"
        raise ValueError(message)
    return value


def _as_dataset(value: Any) -> Any:
    """The name of a known dataset in another spelling, as oxford_pets, as the store has it."""
    return canonical_name(value) if isinstance(value, str) else value


def _as_templates(value: Any) -> Any:
    """Templates, each name of a prompt style replaced by the prompts of that style."""
    if not isinstance(value, list | tuple):
        return value
    return [prompt for each in value for prompt in PROMPT_STYLES.get(each, (each,))]


def _as_shots(value: Any) -> Any:
    return ALL_SHOTS if value == "all" else value


def _check_part(value: str | None) -> str | None:
    if value is not None:
        found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", value)
        if not found or not 1 <= int(found[1]) <= int(found[2]) <= MAX_PARTS:
            message = f"expected I/N with I from 1 to N, N at most {MAX_PARTS}, as 3/20"
            raise ValueError(message)
    return value


_TEXT_OR_NONE = {"anyOf": [{"type": "string"}, {"type": "null"}]}
Place = Annotated[str | Path | None, BeforeValidator(_as_text), WithJsonSchema(_TEXT_OR_NONE)]
Shot = Annotated[
    int,
    Field(ge=1, le=ALL_SHOTS),
    BeforeValidator(_as_shots),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}]}),
]
Shots = Annotated[
    list[Shot],
    Field(min_length=1, description="Labelled training images per class; all uses every one."),
]
Seeds = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**31)]],
    Field(
        min_length=1,
        description="Seeds of the sampled images, of the initial weights and of shuffling.",
    ),
]
DEFAULT_SHOTS = (1, 2, 4, 8, 16)
Indices = Annotated[
    Place,
    Field(
        description="Folder of published choices instead of ours, shot_{K}-seed_{S}.json or 2SFS's "
        "shot_{K}-seed_{S}_train.jsonl and _val.jsonl."
    ),
]
ClassProtocol = Annotated[
    Literal["all-classes", "base-to-new"],
    Field(
        description="all-classes, or base-to-new: train on the first half of the classes, test each half "
        "with its own names."
    ),
]
TestOn = Annotated[
    list[Annotated[str, BeforeValidator(_as_dataset)]] | None,
    Field(
        min_length=1,
        description="Other datasets on whose test images every classifier is tested as well: a domain "
        "shift where the classes are the same by name, else with the dataset's own names.",
    ),
]
Budget = Annotated[
    int | None,
    Field(
        ge=2,
        description="So many labelled images in all, drawn whatever their class, instead of shots; none is "
        "set aside to validate.",
    ),
]
Drawn = Annotated[
    Augmentation,
    Field(
        description="What an augmented view shows: 50-100 % of the picture (tip-adapter) or 8-100 % "
        "(coop), mirrored half of the time."
    ),
]
ShortClasses = Annotated[
    Literal["error", "skip", "take-all"],
    Field(
        description="What to do with a class of too few images for the shots: refuse, leave the class "
        "out, or take what it has."
    ),
]
SelectedBy = Annotated[
    Selection | None,
    Field(
        description="What chooses the settings of every method that has such a setting: validation "
        "images, held-out-shots (training images that are left out in turn) or none (stated defaults); "
        "else as each method has it."
    ),
]
Validation = Annotated[
    bool,
    Field(
        description="Set min(K, 4) images a class aside to validate; without, none is, and those of "
        "the val split train where the train split has too few."
    ),
]
Device = Annotated[str, Field(description="auto, cpu, cuda, cuda:N or mps.")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Parts = Annotated[int, Field(ge=1, le=MAX_PARTS)] | None
_REQUIRED: Any = ...  # typed so that a type checker accepts the parameter by position


class Request(BaseModel):
    """Base class of requests: a frozen model, validated when it is made.

    Attributes:
        positional: names of the parameters that may be given by position, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)
    positional: ClassVar[tuple[str, ...]] = ()

    root: Annotated[
        Place,
        Field(
            description="Where everything is written, a folder or s3://bucket/prefix; else "
            "CLIP_ADAPTER_ROOT, else ./clip-adapter-store."
        ),
    ] = None

    @classmethod
    def of(cls, **parameters: Any) -> Self:
        """Make a request from parameters by name.

        Raises:
            UnknownNameError: there is no such parameter; the message suggests the nearest.
            ParameterError: a value is missing or invalid; says what was found and expected.
        """
        for name in parameters:
            if name not in cls.model_fields:
                raise UnknownNameError("parameter", name, cls.model_fields)
        try:
            return cls(**parameters)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, each['loc']))} is {each['input']!r}: {each['msg']}"
                if each["loc"]
                else str(each["ctx"]["error"])  # of several parameters that contradict each other
                for each in error.errors()
            )
            raise ParameterError(wrong) from None

    @classmethod
    def signature(cls) -> inspect.Signature:
        """Signature of a function whose parameters are the fields of this request."""
        hints = get_type_hints(cls, include_extras=True)
        own_first = [name for each in cls.__mro__ for name in vars(each).get("__annotations__", {})]
        names = dict.fromkeys([*cls.positional, *own_first])
        return inspect.Signature(
            [
                inspect.Parameter(
                    name,
                    inspect.Parameter.POSITIONAL_OR_KEYWORD
                    if name in cls.positional
                    else inspect.Parameter.KEYWORD_ONLY,
                    default=inspect.Parameter.empty
                    if cls.model_fields[name].is_required()
                    else cls.model_fields[name].default,
                    annotation=hints[name],
                )
                for name in names
                if name in cls.model_fields
            ]
        )

    @classmethod
    def described(cls) -> str:
        """Descriptions of all parameters, as the section `Args` of a docstring."""
        lines = [
            f"    {name}: {cls.model_fields[name].description}"
            for name in cls.signature().parameters
        ]
        return "\n".join(["Args:", *lines])

    @property
    def location(self) -> Location:
        """Folder or URL of the store."""
        return Settings.of(root=self.root).location


def _check_can_select(option: str, selection: object, *, validation: bool) -> None:
    if selection == "validation" and not validation:
        message = (
            f"{option} is given together with --no-validation, which sets no image aside to choose "
            "on: leave one of them out, or choose on training images (--selection held-out-shots)"
        )
        raise ValueError(message)


def _refuse_together(option: str, given: Mapping[str, object], *, why: str) -> None:
    chosen = ", ".join(f"--{name}" for name, value in given.items() if value)
    if chosen:
        message = f"{chosen} is given together with {option}, which {why}: leave one of them out"
        raise ValueError(message)


class DatasetRequest(Request):
    """A request about one dataset and one encoder."""

    positional: ClassVar[tuple[str, ...]] = ("dataset", "model")

    dataset: Annotated[
        str,
        BeforeValidator(_as_dataset),
        Field(
            description="digits, a name that `clip-adapter datasets` lists (as eurosat or oxford_pets), "
            "imagefolder:PATH, csv:, parquet: or jsonl:PATH, webdataset:GLOB, hf:OWNER/NAME, or "
            "features:NAME of imported features."
        ),
    ] = "digits"
    model: Annotated[
        str | None,
        Field(
            description="glyphs, ARCHITECTURE:TAG, ARCHITECTURE:CHECKPOINT, hf-hub:ORG/REPO or "
            f"local-dir:FOLDER; by default {BUILT_IN} for digits, {DEFAULT_MODEL} for other images, "
            "and none for features:NAME."
        ),
    ] = None
    images: Annotated[
        Place,
        Field(
            description="Folder of this dataset, instead of one in the data folder, or beside its table."
        ),
    ] = None
    data: Annotated[
        Place,
        Field(description="Folder of dataset folders; else CLIP_ADAPTER_DATA, else ROOT/images."),
    ] = None
    device: Device = "auto"
    precision: Annotated[
        Precision,
        Field(
            description="Numeric format of the encoder's forward pass; each makes its own features."
        ),
    ] = "fp32"
    resize: Annotated[
        ResizeMode | None,
        Field(
            description="shortest (CLIP: resize the short side, crop the centre), squash (CoOp: resize "
            "both sides) or longest (resize the long side, pad); else the model's own."
        ),
    ] = None
    preprocessing: Annotated[
        str | None,
        Field(
            description="TAG of the architecture, or ARCHITECTURE:TAG, whose preprocessing a checkpoint "
            "has; needed where it is not known."
        ),
    ] = None
    augmentation: Drawn = "tip-adapter"
    name: Annotated[
        str | None,
        Field(
            description="Name of a dataset of your own images, else that of the folder, table or archives; "
            "the same name goes on with its runs and champion wherever they lie."
        ),
    ] = None
    class_names: Annotated[
        Place,
        Field(
            description="Names of the classes of your own images: .yaml, .csv or lines of folder or label, "
            "name and perhaps prompts; else dataset.yaml in the folder, else from the folders or labels."
        ),
    ] = None
    ignore: Annotated[
        list[str] | None,
        Field(
            description="Files and folders of your own images to leave out, as models/* or *.tmp."
        ),
    ] = None
    columns: Annotated[
        dict[str, str] | None,
        Field(
            description="Columns of a table, keys of a webdataset's .json, or columns of hf:NAME that have "
            "other names than path, label, split, group (and image, of hf:NAME)."
        ),
    ] = None
    follow_links: Annotated[
        Place,
        Field(
            description="Folder below which links, and paths in a table, may lead out of the folder of the "
            "images; by default none may."
        ),
    ] = None
    max_pixels: Annotated[
        int,
        Field(
            ge=1,
            le=2**31,
            description="Images of more pixels are quarantined, except JPEGs, which are decoded at "
            "reduced size.",
        ),
    ] = MAX_PIXELS
    max_bad_fraction: Annotated[
        Fraction, Field(description="Fail if more of the files than this are unreadable.")
    ] = 0.05
    parts: Annotated[
        Parts,
        Field(
            description="Number of tasks to split the work into, for a Dask cluster one to four a "
            "worker; with CLIP_ADAPTER_DASK=local:N it is N, else a single one."
        ),
    ] = None

    @property
    def places(self) -> Settings:
        """Settings with the folders of the store and of the datasets."""
        return Settings.of(root=self.root, data=self.data)

    @property
    def folder_options(self) -> FolderOptions:
        """What the request says about a folder of images."""
        return FolderOptions(
            name=self.name,
            class_names=Settings.folder(self.class_names),
            ignore=tuple(self.ignore or ()),
            columns=tuple(sorted((self.columns or {}).items())),
            read=ReadOptions(
                follow_links=Settings.folder(self.follow_links), max_pixels=self.max_pixels
            ),
        )


class ExtractRequest(DatasetRequest):
    """Encode a dataset's images and prompts once into the feature cache."""

    views: Annotated[
        int,
        Field(
            ge=0, lt=10_000, description="Augmented views of each image, beside the image itself."
        ),
    ] = 0
    processes: Annotated[
        int,
        Field(
            ge=0,
            le=1024,
            description="Number of processes that decode, for many cores beside a fast GPU; 0 "
            "decodes in threads.",
        ),
    ] = 0
    part: Annotated[
        str | None,
        AfterValidator(_check_part),
        Field(
            description="Encode this part of the images alone, as 3/20: for a Slurm array, a Kubernetes "
            "Job or any engine that starts processes. Each part may be started again; an image stays in "
            "its part."
        ),
    ] = None

    @model_validator(mode="after")
    def _check_one_kind_of_parts(self) -> Self:
        if self.part:
            _refuse_together("--part", {"parts": self.parts}, why="is one piece of its own")
        return self


def _choosing(selection: Selection | None, *, validation: bool) -> Selection | None:
    """The selection of methods that are given none: without validation images, held-out shots choose."""
    return selection or (None if validation else "held-out-shots")


class SweepRequest(DatasetRequest):
    """Few-shot methods at some numbers of shots and seeds."""

    methods: Annotated[
        list[str],
        Field(min_length=1, description="Names of methods, or all; see `clip-adapter methods`."),
    ] = ["zero-shot", "linear-probe", "clip-adapter"]
    shots: Shots = list(DEFAULT_SHOTS)
    seeds: Seeds = [1, 2, 3]
    settings: Annotated[
        dict[str, dict[str, Any]] | None,
        Field(
            description="By method, what differs from its defaults, as "
            '{"clip-adapter": {"epochs": 20}}.'
        ),
    ] = None
    templates: Annotated[
        list[str] | None,
        BeforeValidator(_as_templates),
        Field(
            description="Prompts with {} for the class name, instead of the dataset's own; several "
            "make an ensemble, and `ensemble` is CLIP's seven for ImageNet."
        ),
    ] = None
    few_shot_indices: Indices = None
    short_classes: ShortClasses = "error"
    selection: SelectedBy = None
    validation: Validation = True
    budget: Budget = None
    protocol: ClassProtocol = "all-classes"
    test_on: TestOn = None
    study: Annotated[
        str | None,
        Field(description="Name of an ablation study; its runs are not shown on the leaderboard."),
    ] = None
    max_relabelled_fraction: Annotated[
        Fraction, Field(description="Promote nothing if more images than this changed their class.")
    ] = 0.05

    @property
    def choosing(self) -> Selection | None:
        """The selection of methods that have none of their own; None for the method's default."""
        return _choosing(self.selection, validation=self.validation and not self.budget)

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        selections: dict[str, object] = {
            f"--set {name}.{setting}=validation": settings.get(setting)
            for name, settings in (self.settings or {}).items()
            for setting in ("selection", "ratio_mode")  # the second is a former name
        }
        selections["--selection validation"] = self.selection
        for option, selection in selections.items():
            _check_can_select(option, selection, validation=self.validation)
            if self.budget and selection == "validation":
                message = (
                    f"{option} is given together with --budget, whose images all train: leave one of them "
                    "out, or choose on training images (--selection held-out-shots)"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _check_protocol(self) -> Self:
        """Refuse parameters that contradict a budget, a protocol or other datasets to test on."""
        if self.budget:
            given: dict[str, object] = {
                "shots": self.shots != list(DEFAULT_SHOTS),
                "few-shot-indices": self.few_shot_indices,
                "short-classes": self.short_classes != "error",
            }
            _refuse_together(
                "--budget", given, why="says how many images train, whatever their class"
            )
        if self.protocol != "all-classes":
            given = {"study": self.study, "test-on": self.test_on, "budget": self.budget}
            given["promote"] = getattr(self, "promote", False)
            _refuse_together(
                f"--protocol {self.protocol}", given, why="trains on some of the classes alone"
            )
        if self.test_on:
            _refuse_together("--test-on", {"study": self.study}, why="has a protocol of its own")
        return self


class PromoteRequest(SweepRequest):
    """Train what is missing of a sweep, and promote its best method if it is proven better."""


class TrainRequest(SweepRequest):
    """Train and evaluate few-shot methods on cached features, and record every run."""

    retrain: Annotated[bool, Field(description="Train again what is recorded already.")] = False
    promote: Annotated[
        bool,
        Field(
            description="Make the best method on validation the champion, if it is proven better "
            "than the current one."
        ),
    ] = False


class ReproduceRequest(DatasetRequest):
    """Run one of the paper's ablations, which vary one setting of CLIP-Adapter, or another study.

    Open-vocabulary trains every method that has class prototypes on half of the classes and adds the
    others by name; selection measures what choosing settings on test images adds; rivals trains every
    method; published compares with the figures of the paper; paper trains the methods that the paper
    compares. The dataset "all" stands for every known one whose images are present.
    """

    positional: ClassVar[tuple[str, ...]] = ("study", "dataset", "model")

    study: Annotated[
        StudyName,
        Field(description=f"{', '.join(STUDY_NAMES[:-1])} or {STUDY_NAMES[-1]}."),
    ] = _REQUIRED
    shots: Shots = [1, 2, 4, 8, 16]
    seeds: Seeds = [1, 2, 3]
    recipe: Annotated[Literal["paper", "fast"], Field(description="How methods are trained.")] = (
        "paper"
    )
    few_shot_indices: Indices = None
    short_classes: ShortClasses = "error"
    selection: SelectedBy = None
    validation: Validation = True
    augmentation: Drawn = "coop"

    @property
    def choosing(self) -> Selection | None:
        """The selection of methods that have none of their own; None for the method's default."""
        return _choosing(self.selection, validation=self.validation)

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        option = "--selection validation"
        _check_can_select(option, self.selection, validation=self.validation)
        return self

    @model_validator(mode="after")
    def _check_all(self) -> Self:
        if self.dataset == ALL_DATASETS:
            of_one = ("images", "name", "class_names", "ignore", "few_shot_indices")
            given = {name.replace("_", "-"): getattr(self, name) for name in of_one}
            _refuse_together("the dataset all", given, why="stands for several datasets")
        return self


class PredictRequest(Request):
    """Classify images with a trained classifier."""

    positional: ClassVar[tuple[str, ...]] = ("classifier", "inputs")

    classifier: Annotated[
        str | Path,
        BeforeValidator(_as_text),
        Field(
            description="champion:DATASET, run:ID, a classifier's .safetensors file or an exported "
            "folder."
        ),
    ] = _REQUIRED
    inputs: Annotated[
        str | Path | Sequence[str | Path],
        BeforeValidator(_as_names),
        Field(
            description="Image files, folders, patterns, tar archives, or - for a list of paths on "
            "standard input.",
        ),
    ] = _REQUIRED
    top: Annotated[
        int, Field(ge=1, le=1000, description="Number of most probable classes to tell.")
    ] = 1
    min_confidence: Annotated[
        Fraction,
        Field(
            description="Tell no class for an image whose most probable one has a probability, after "
            "the temperature, below this."
        ),
    ] = 0.0
    coverage: Annotated[
        Annotated[float, Field(gt=0.0, lt=1.0)] | None,
        Field(
            description="Tell as well a set of classes that has the true one with this probability, as 0.9; "
            "an empty set is none of these."
        ),
    ] = None
    also: Annotated[
        list[str] | None,
        Field(
            description="Name of a class that the classifier was not trained on and is to know as well, "
            "by its text."
        ),
    ] = None
    cache: Annotated[
        bool,
        Field(
            description="Take features from the store and keep new ones there; without, nothing is "
            "written."
        ),
    ] = True
    model: Annotated[
        str | None,
        Field(
            description="Model of the encoder in place of the one that a file names; needed where it "
            "names none, or a path."
        ),
    ] = None
    device: Device = "auto"
    follow_links: Annotated[
        Place,
        Field(
            description="Folder below which links may lead out of a folder of images; by default no "
            "link may."
        ),
    ] = None
    max_pixels: Annotated[
        int,
        Field(
            ge=1,
            le=2**31,
            description="Images of more pixels are unreadable, except JPEGs, which are decoded at "
            "reduced size.",
        ),
    ] = MAX_PIXELS

    @property
    def names(self) -> list[str]:
        """The names of the inputs."""
        return [str(each) for each in cast("Sequence[str]", self.inputs)]


class MaintainRequest(Request):
    """Verify, compact and clear up a store; other runs may read and write it meanwhile."""

    deep: Annotated[bool, Field(description="Read every byte, else the end of each file.")] = True
    repair: Annotated[
        bool,
        Field(description="Set damaged files aside; the next run makes again what they held."),
    ] = False
    unreferenced: Annotated[
        bool, Field(description="Drop features of images that no dataset's index names.")
    ] = False


P = ParamSpec("P")
AnyRequest = TypeVar("AnyRequest", bound=Request)
Result = TypeVar("Result", covariant=True)  # noqa: PLC0105  # the protocol's business


class _Application(Protocol[P, Result]):
    """A function of the pipeline, called with a request or with its parameters."""

    @overload
    def __call__(
        self,
        request: Request,
        /,
        *,
        executor: Executor = ...,
        reporter: Reporter = ...,
        **further: Any,
    ) -> Result: ...

    @overload
    def __call__(
        self,
        first: str | Path = ...,
        second: str | Path | Sequence[str | Path] | None = ...,
        third: str | None = ...,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Result: ...


def accepts(
    kind: Callable[P, AnyRequest],
) -> Callable[[Callable[Concatenate[AnyRequest, ...], Result]], _Application[P, Result]]:
    """Decorate a function of a request so that it can be called with the parameters of the request.

    The signature and the section `Args` of the docstring are generated from the request. The other
    parameters of the function, such as `executor` and `reporter`, may be given beside them.

    Args:
        kind: class of the request.
    """
    model: Any = kind
    signature = model.signature()

    def decorate(
        function: Callable[Concatenate[AnyRequest, ...], Result],
    ) -> _Application[P, Result]:
        further = list(inspect.signature(function).parameters)[1:]

        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Result:
            if args and isinstance(args[0], Request):
                if not isinstance(args[0], model):
                    raise ParameterError(
                        f"{function.__name__} was called with a {type(args[0]).__name__}: "
                        f"expected a {model.__name__}, or its parameters"
                    )
                return function(*args, **kwargs)
            own = {name: kwargs.pop(name) for name in further if name in kwargs}
            positional = dict(zip(model.positional, args, strict=False))
            if len(args) > len(positional) or positional.keys() & kwargs.keys():
                signature.bind(*args, **kwargs)  # raises the TypeError that says so
            return function(model.of(**positional, **kwargs), **own)

        called.__signature__ = signature  # type: ignore[attr-defined]  # what inspect looks for
        called.__doc__ = f"{inspect.getdoc(function)}\n\n{model.described()}"
        return called

    return decorate


class _OverDatasets(Protocol[P, Result]):
    """A function of several requests, called with datasets, models and their further parameters."""

    def __call__(
        self,
        datasets: Sequence[str],
        models: Sequence[str] | None = ...,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Result: ...


def accepts_several(
    kind: Callable[P, AnyRequest],
) -> Callable[[Callable[..., Result]], _OverDatasets[P, Result]]:
    """Decorate a function of several requests so that it can be called with datasets and models.

    Each pair of a dataset and a model is a request; the further parameters are those of every request. The
    signature and the section `Args` of the docstring are generated from the request. The other
    parameters of the function, such as `executor` and `reporter`, may be given beside them.

    Args:
        kind: class of the requests.
    """
    model: Any = kind
    of_each = [
        each
        for each in model.signature().parameters.values()
        if each.name not in {"dataset", "model"}
    ]

    def decorate(function: Callable[..., Result]) -> _OverDatasets[P, Result]:
        further = list(inspect.signature(function).parameters)[1:]

        def called(
            datasets: Sequence[str], models: Sequence[str] | None = None, **kwargs: Any
        ) -> Result:
            own = {name: kwargs.pop(name) for name in further if name in kwargs}
            named: list[str | None] = [*dict.fromkeys(models)] if models else [None]
            requests = [
                model.of(dataset=dataset, model=each, **kwargs)
                for dataset, each in product(dict.fromkeys(datasets), named)
            ]
            return function(requests, **own)

        first = list(inspect.signature(called).parameters.values())[:2]
        lines = [
            f"{inspect.getdoc(function)}\n\nArgs:",
            "    datasets: Names of datasets, as `train` takes them.",
            "    models: Names of models; the default of each dataset when None.",
            *(f"    {each.name}: {model.model_fields[each.name].description}" for each in of_each),
        ]
        wrapped: Any = wraps(function)(called)
        wrapped.__signature__ = inspect.Signature([*first, *of_each])
        wrapped.__doc__ = "\n".join(lines)
        return cast("_OverDatasets[P, Result]", wrapped)

    return decorate
