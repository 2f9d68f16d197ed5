"""Loads trained classifiers: of a file, a dataset's champion, or a recorded run."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from clip_adapter.encoders import BUILT_IN, HF_HUB, LOCAL_DIR, Precision
from clip_adapter.encoders.features import can_be_normalised
from clip_adapter.errors import DataError, EncoderError, UnknownNameError, UnreadableImageError
from clip_adapter.images import ResizeMode, decode_image, read_image_file, upright_rgb
from clip_adapter.methods import SavedClassifier
from clip_adapter.pipeline.encoder_lock import encoder_slot
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.identity import stored_name
from clip_adapter.pipeline.open_vocabulary import with_named_classes
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.runs import Champion, PromotionStore, RunStoreError, find_run
from clip_adapter.settings import Settings
from feature_cache import Location
from feature_cache.exchange import imported_names

if TYPE_CHECKING:
    from clip_adapter.encoders import Encoder

CHAMPION, RUN = "champion:", "run:"
"""Beginnings of the names of classifiers that a store has."""
IMAGES_AT_ONCE = 256
"""Number of images whose pixels are in memory at once."""

_TAG = re.compile(r"[A-Za-z0-9_.+-]+:[A-Za-z0-9_]+")
_HUB = re.compile(r"hf-hub:[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")

Images = Any
"""Paths, images of Pillow, pixels `[h, w, 3]` or features `[n, d]`; one of them or a sequence."""


class ImageClassifier:
    """A trained classifier together with its encoder, which is loaded when an image needs it.

    Images are given as paths, images of Pillow or uint8 arrays `[h, w, 3]`, one or a sequence of them, or
    as one array `[n, d]` of raw features of the encoder. For scikit-learn, whose classes are sorted,
    there is `clip_adapter.TrainedClassifier`.

    Attributes:
        saved: the classifier with its method, settings and metadata.
        encoding: the encoder and its options; None where the classifier's file names none.
        trusts_paths: whether a model that is named by a path may be loaded.
    """

    def __init__(
        self, saved: SavedClassifier, encoding: Encoding | None = None, *, trusts_paths: bool = True
    ) -> None:
        self.saved, self.encoding, self.trusts_paths = saved, encoding, trusts_paths

    @property
    def title(self) -> str:
        """Method, and name of the dataset when it was trained."""
        described = self.saved.metadata
        return f"{self.saved.method} of {described.dataset}" if described else self.saved.method

    def __repr__(self) -> str:
        """Title, number of classes and encoder."""
        return (
            f"{type(self).__name__}({self.title}, {len(self.class_names)} classes, "
            f"encoder {self.saved.encoder_name})"
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class, in the order of the columns of `predict_proba`."""
        return self.saved.classifier.class_names

    @property
    def width(self) -> int:
        """Width d of the features."""
        return self.saved.classifier.width

    @cached_property
    def encoder(self) -> "Encoder":
        """The encoder whose features are classified, loaded on first access.

        Raises:
            EncoderError: the encoder is not known or cannot be loaded, or the file names it by a path.
            DataError: it has another fingerprint than the one that the classifier was fitted with.
            UnavailableError: this machine has no such device.
        """
        encoding = self._require_encoding()
        encoder = encoding.encoder
        self.saved.check_encoder(encoder.fingerprint, model=encoding.model_name)
        return encoder

    def _require_encoding(self) -> Encoding:
        encoding, described = self.encoding, self.saved.metadata
        if described and described.encoder.is_imported:
            raise EncoderError(
                f"the classifier takes imported features, made by {described.encoder.model!r:.200}: "
                "give features instead of images"
            )
        if encoding is None:
            raise EncoderError(
                "the classifier's file does not name the model of its encoder, as earlier versions "
                "wrote it: name the model (model=, --model)"
            )
        if not self.trusts_paths:
            _refuse_path(encoding.model_name)
        return encoding

    def with_classes(
        self,
        class_names: str | Sequence[str],
        *,
        encode_prompts: Callable[[list[str]], Float[np.ndarray, "n d"]] | None = None,
    ) -> "ImageClassifier":
        """A classifier that also has classes which it was not trained on, by their names alone.

        Their prompts are those that the classifier was trained with. Logits of the other classes do not
        change; `SavedClassifier.with_classes` says what the new ones have no part in.

        Args:
            class_names: one name, or several, as "solar farm".
            encode_prompts: returns the raw text features of prompts, by the same encoder; the encoder's
                text tower when None.

        Raises:
            DataError: the method has no class prototypes, as linear-probe; a name is empty, too long,
                given twice or there already; or the file names no prompts or another encoder.
            EncoderError: the encoder is not known or cannot be loaded.
        """
        names = [class_names] if isinstance(class_names, str) else list(class_names)

        def encode(prompts: list[str]) -> Float[np.ndarray, "n d"]:
            return self.encoder.encode_prompts(prompts)  # loaded once the names are checked

        extended = with_named_classes(self.saved, names, encode_prompts=encode_prompts or encode)
        return ImageClassifier(extended, self.encoding, trusts_paths=self.trusts_paths)

    def embed(self, images: Images) -> Float[np.ndarray, "n d"]:
        """Raw features of images, before normalisation.

        Args:
            images: images or features; features are returned as they are, in float32.

        Raises:
            UnreadableImageError: an image cannot be read; the message names it.
            DataError: the array is neither of pixels nor of features, or the encoder is another.
            EncoderError: the encoder cannot be loaded.
        """
        features = _as_features(images)
        if features is not None:
            return _checked(features)
        given = list(_as_sequence(images))
        if not given:
            return np.zeros((0, self.width), dtype=np.float32)
        encoder = self.encoder
        parts = []
        for first in range(0, len(given), IMAGES_AT_ONCE):
            batch = given[first : first + IMAGES_AT_ONCE]
            some = [_picture(each, place) for place, each in enumerate(batch, start=first)]
            # The model's own view is the same for every digest.
            pixels = [encoder.geometry.pixels(each, image_sha256=b"\0" * 32) for each in some]
            with encoder_slot(f"images with {encoder.name}", Reporter()):
                parts.append(_checked(encoder.encode_images(np.stack(pixels)).astype(np.float32)))
        return np.concatenate(parts)

    def logits(self, images: Images) -> Float[np.ndarray, "n c"]:
        """Logits, one column a class, before the temperature.

        Args:
            images: images or features.

        Raises:
            UnreadableImageError: an image cannot be read; the message names it.
            EncoderError: the encoder cannot be loaded.
        """
        return self.saved.classifier.logits(self.embed(images))

    def predict_proba(self, images: Images, *, sigmoid: bool = False) -> Float[np.ndarray, "n c"]:
        """Probabilities, one column a class.

        Args:
            images: images or features.
            sigmoid: for a sigmoid model such as SigLIP, the probability of each class by itself,
                whose rows need not add to 1; else the softmax after the fitted temperature.

        Raises:
            DataError: `sigmoid` is asked of a classifier whose encoder is no sigmoid model.
            UnreadableImageError: an image cannot be read; the message names it.
            EncoderError: the encoder cannot be loaded.
        """
        features = self.embed(images)
        if sigmoid:
            return self.saved.sigmoid_probabilities(features)
        return self.saved.probabilities(features)

    def prediction_sets(self, images: Images, *, coverage: float = 0.9) -> Bool[np.ndarray, "n c"]:
        """Mark classes of which one is the true one with a stated probability, by split conformal prediction.

        An image without any class is "none of these": no class is probable enough, or its highest cosine with
        a text is lower than that of nearly all images of the calibration.

        Args:
            images: images or features.
            coverage: probability that the set has the true class, above 0 and below 1.

        Raises:
            ParameterError: the coverage is out of range.
            DataError: the classifier has no calibration, or too few images for the coverage.
            UnreadableImageError: an image cannot be read; the message names it.
            EncoderError: the encoder cannot be loaded.
        """
        return self.saved.prediction_sets(self.embed(images), coverage=coverage)

    def predict(self, images: Images) -> np.ndarray:
        """The name of the most probable class of each image.

        Args:
            images: images or features.

        Raises:
            UnreadableImageError: an image cannot be read; the message names it.
            EncoderError: the encoder cannot be loaded.
        """
        names: np.ndarray = np.array(self.class_names)[self.logits(images).argmax(axis=1)]
        return names

    def score(self, images: Images, labels: Sequence[str]) -> float:
        """Accuracy, a fraction.

        Args:
            images: images or features.
            labels: true class names, one an image.

        Raises:
            DataError: there are no images, or another number of labels.
            UnknownNameError: a label is no class name; the message suggests the nearest.
        """
        predicted, known = self.predict(images).tolist(), set(self.class_names)
        if len(predicted) != len(labels) or not predicted:
            raise DataError(
                f"{len(labels)} labels for {len(predicted)} images: expected one each, and one or more"
            )
        for label in labels:
            if label not in known:
                raise UnknownNameError("class", str(label), self.class_names)
        return float(np.mean([a == b for a, b in zip(predicted, labels, strict=True)]))


def load(
    classifier: str | Path,
    *,
    root: Location | str | None = None,
    model: str | None = None,
    device: str = "auto",
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> ImageClassifier:
    """Load a trained classifier; its encoder is loaded when the first image is classified.

    Args:
        classifier: path of a classifier's file or of an exported folder, `champion:DATASET`, or
            `run:ID`, which fits a recorded run again from its stored features.
        root: folder or URL of the store of champions and runs; CLIP_ADAPTER_ROOT when None, and
            ./clip-adapter-store when that is not set.
        model: name of the encoder's model in place of the one that the file names; needed for a file
            of an earlier version, and for a file that names a model by a path.
        device: torch device of the encoder, such as "cuda:0", or "auto".
        reporter: where to report a damaged champion that is skipped.

    Raises:
        DataError: the file holds no classifier, or the run cannot be fitted as it was.
        UnknownNameError: there is no such dataset or run; the message suggests the nearest.
        RunStoreError: nothing was promoted, or there is no store.
        FileNotFoundError: there is no such file.
        FeatureCacheError: a file of the store is damaged.
    """
    place = Settings.of(root=None if root is None else str(root)).location
    name = str(classifier)
    if name.startswith(CHAMPION):
        saved = _champion(name.removeprefix(CHAMPION), place, reporter)
    elif name.startswith(RUN):
        from clip_adapter.pipeline.refit import refit  # noqa: PLC0415  # imports what computes

        run = find_run(place, name.removeprefix(RUN))
        saved = refit(place, run, device=device, reporter=reporter)
    else:
        saved = _read_file(Path(classifier).expanduser(), place)
    is_file = not name.startswith((CHAMPION, RUN))
    encoding = _encoding(saved, model=model, device=device)
    return ImageClassifier(saved, encoding, trusts_paths=not is_file or model is not None)


def _read_file(path: Path, root: Location) -> SavedClassifier:
    from clip_adapter.methods import load_classifier  # noqa: PLC0415  # imports torch

    file = path / "model.safetensors" if path.is_dir() else path
    if file.is_file():
        return load_classifier(file)
    hint = ""
    if not path.suffix and path.name == str(path):
        found = PromotionStore(root).datasets()
        hint = f"; `champion:{path}` is a champion" if path.name in found else ""
    raise FileNotFoundError(
        f"there is no classifier at {file}: expected a .safetensors file, an exported folder, "
        f"champion:DATASET or run:ID{hint}"
    )


def _champion(dataset: str, root: Location, reporter: Reporter) -> SavedClassifier:
    from clip_adapter.methods import decode_classifier  # noqa: PLC0415  # imports torch

    name = stored_name(dataset, root=root)
    champion = current_champion(name, root, reporter)
    saved = decode_classifier(champion.content, source=str(champion.path))
    saved.check_encoder(champion.record.encoder, model=champion.record.model)
    if saved.metadata is None:
        return _with_metadata(saved, champion, root)
    # The dataset may have another name than when it was trained on.
    return replace(saved, metadata=saved.metadata.model_copy(update={"dataset": name}))


def current_champion(name: str, root: Location, reporter: Reporter) -> Champion:
    """The champion of a dataset, verified.

    Args:
        name: name of the dataset in the store.
        root: folder or URL of the store.
        reporter: where to report a damaged champion that is skipped.

    Raises:
        RunStoreError: nothing was promoted.
        UnknownNameError: there is no such dataset; the message suggests the nearest.
    """
    store = PromotionStore(root)
    history = store.known_history(name)
    champion = store.champion(name, on_corruption=lambda error: reporter.log(str(error)))
    if champion is None:
        last = history[-1]
        raise RunStoreError.no_champion(
            name, refused=f"{last.reason}; run:{last.run_id[:12]} is that candidate"
        )
    return champion


def _with_metadata(saved: SavedClassifier, champion: Champion, root: Location) -> SavedClassifier:
    """A champion of an earlier version, with what the record of its run tells."""
    from clip_adapter.pipeline.classifier_metadata import classifier_metadata  # noqa: PLC0415
    from clip_adapter.pipeline.refit import encoding_of_run  # noqa: PLC0415  # imports what computes

    record = champion.record
    try:
        run = find_run(root, record.run_id)
    except UnknownNameError:
        return saved  # the runs were removed; the classifier is whole without them
    is_imported = record.dataset in imported_names(root)
    encoding = encoding_of_run(root, run)
    metadata = classifier_metadata(root, run, is_imported=is_imported, encoding=encoding)
    return replace(saved, metadata=metadata)


def _encoding(saved: SavedClassifier, *, model: str | None, device: str) -> Encoding | None:
    described = saved.metadata.encoder if saved.metadata else None
    if described is None:
        return Encoding(model=model, device=device) if model else None
    if described.is_imported:
        return None
    for kind, value, known in (
        ("precision", described.precision, get_args(Precision)),
        ("resize mode", described.resize, get_args(ResizeMode)),
    ):
        if value is not None and value not in known:
            raise UnknownNameError(f"{kind} in the classifier's file", value, known)
    return Encoding(
        model=model or described.model,
        device=device,
        precision=described.precision,  # type: ignore[arg-type]  # checked above
        resize=described.resize,  # type: ignore[arg-type]  # checked above
        preprocessing=described.preprocessing_tag,
    )


def _refuse_path(model: str) -> None:
    """Refuse a model that a file names by a path: what a file says is not trusted."""
    is_named = model == BUILT_IN or (_HUB if model.startswith(HF_HUB) else _TAG).fullmatch(model)
    if is_named and not model.startswith(LOCAL_DIR) and not _is_checkpoint(model):
        return
    raise EncoderError(
        f"the classifier's file names its encoder {model!r:.200}, which is a path or no name of a "
        "model: a path in a file is not followed; name the model yourself (model=, --model)"
    )


def _is_checkpoint(model: str) -> bool:
    """Whether a name that looks like ARCHITECTURE:TAG is that of a file in the working folder."""
    if ":" not in model or model.startswith(HF_HUB):
        return False
    from clip_adapter.encoders import parse_model_name  # noqa: PLC0415  # imports open_clip

    return parse_model_name(model).where == "checkpoint"


def _as_features(images: Images) -> Float[np.ndarray, "n d"] | None:
    """The features, if that is what was given."""
    if isinstance(images, np.ndarray) and np.issubdtype(images.dtype, np.floating):
        if images.ndim != 2:
            raise DataError(
                f"an array of floats of shape {images.shape} is neither features nor pixels: expected "
                "features [n, d], or pixels as uint8 [h, w, 3]"
            )
        with np.errstate(over="ignore"):  # what overflows is refused as infinite
            return images.astype(np.float32, copy=False)
    return None


def _checked(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """The features, if all can be normalised; raises `DataError` otherwise."""
    useless = np.flatnonzero(~can_be_normalised(features))
    if len(useless):
        raise DataError(
            f"{len(useless)} of {len(features)} features are zero, infinite or NaN, the first is row "
            f"{useless[0]}: expected raw features of the classifier's encoder"
        )
    return features


def _as_sequence(images: Images) -> Iterable[Any]:
    if isinstance(images, str | Path | Image.Image | bytes):
        return [images]
    if isinstance(images, np.ndarray) and images.ndim == 3:
        return [images]
    if not isinstance(images, Iterable):
        raise DataError(
            f"images are given as {type(images).__name__}: expected paths, images of Pillow, pixels as "
            "uint8 [h, w, 3], or features [n, d]"
        )
    return images


def _picture(image: Any, place: int) -> Image.Image:
    try:
        if isinstance(image, str | Path):
            return decode_image(read_image_file(Path(image)))
        if isinstance(image, Image.Image):
            if not image.width * image.height:
                raise UnreadableImageError(f"it has {image.width} x {image.height} pixels")  # noqa: TRY301
            return upright_rgb(image)
    except UnreadableImageError as error:
        name = f"{str(image)!r:.300}" if isinstance(image, str | Path) else f"image {place}"
        raise UnreadableImageError(f"{name}: {error.reason}") from error
    return Image.fromarray(_pixels(image, place))


def _pixels(image: Any, place: int) -> UInt8[np.ndarray, "h w 3"]:
    found = image if isinstance(image, np.ndarray) else None
    if (
        found is None
        or found.dtype != np.uint8
        or found.ndim != 3
        or found.shape[2] != 3
        or not found.size
    ):
        what = type(image).__name__ if found is None else f"{found.dtype} of shape {found.shape}"
        raise DataError(
            f"image {place} is {what}: expected a path, an image of Pillow or pixels as uint8 [h, w, 3]; "
            "features are given as one array of floats [n, d]"
        )
    return found
