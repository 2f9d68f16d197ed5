"""Corrects labels, images and classes of a trained classifier exactly, without training it again."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.errors import DataError, UnknownNameError
from clip_adapter.methods import METHODS, MomentsMethod, SavedClassifier, class_prototypes
from clip_adapter.methods.classifier_metadata import ClassifierMetadata
from clip_adapter.methods.extended_classifier import check_new_names
from clip_adapter.methods.fitting.class_moments import ClassMoments, unit_rows
from clip_adapter.pipeline.classifier_metadata import classifier_metadata
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.encoding import n_views
from clip_adapter.pipeline.identity import stored_name
from clip_adapter.pipeline.load import CHAMPION, RUN, current_champion
from clip_adapter.pipeline.refit import check_has_classifier, method_and_features, recorded_images
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.runs import RunRecord, RunStoreError, find_run
from clip_adapter.settings import Settings
from feature_cache import FeatureStore, Location

MOST_EDITS = 1_000
"""After this many changed images, sums are computed anew from the stored features, so that rounding does
not add up (see `ClassMoments`)."""

Image = tuple[bytes, str]
"""Digest of an image and name of its class."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UpdatableClassifier:
    """A classifier with the images and the sums that it is computed from.

    Attributes:
        run: record of the run that chose the settings.
        method: method of the run.
        settings: hyper-parameters of the run as finally used, by name.
        metadata: metadata of the run's classifier.
        class_names: one name a class, in the order of the logits.
        prototypes: text feature of length 1 of each class.
        images: training images, in any order.
        moments: sums over the features of the images.
        n_edits: images that were added, removed or labelled anew since the run.
        features: the stored features of the run's dataset.
    """

    run: RunRecord
    method: MomentsMethod
    settings: Mapping[str, float]
    metadata: ClassifierMetadata
    class_names: tuple[str, ...]
    prototypes: Float[np.ndarray, "c d"]
    images: tuple[Image, ...]
    moments: ClassMoments
    n_edits: int
    features: DatasetFeatures

    @cached_property
    def saved(self) -> SavedClassifier:
        """The classifier, as `save_classifier` writes it; without scores, which are those of the run."""
        from clip_adapter.methods import LinearClassifier  # noqa: PLC0415  # imports torch

        weight, bias = self.weights()
        own = _own_prompts(self.run)
        return SavedClassifier(
            classifier=LinearClassifier(
                weight=weight.astype(np.float32),
                bias=bias.astype(np.float32),
                class_names=self.class_names,
            ),
            method=self.run.method,
            settings={**self.settings, "edited_images": self.n_edits},
            encoder=self.run.encoder,
            logit_bias=self.run.logit_bias,
            metadata=self.metadata.model_copy(
                update={
                    "n_train": len(self.images),
                    "class_prompts": tuple(own.get(name, ()) for name in self.class_names)
                    if own
                    else (),
                    "scores": (),
                }
            ),
        )

    def weights(self) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
        """Weights and biases of the classifier in double precision; `saved` has them rounded to single."""
        (found,) = self.method.weights(
            self.moments,
            self.prototypes.astype(np.float64),
            logit_scale=self.run.logit_scale,
            points=[{name: float(value) for name, value in self.settings.items()}],
        )
        return found


def update(
    classifier: str | UpdatableClassifier,
    labels: Mapping[str, str | None] | None = None,
    *,
    add_classes: Sequence[str] = (),
    remove_classes: Sequence[str] = (),
    encode_prompts: Callable[[list[str]], Float[np.ndarray, "n d"]] | None = None,
    root: Location | str | None = None,
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> UpdatableClassifier:
    """Correct the training images of a classifier of ridge-to-text or gda.

    The result is what fitting to the corrected images gives with the settings of the run: penalty, alpha and
    temperature stay as chosen. The features of changed images are added to sums or subtracted from them;
    from the second update on, no other image's feature is read. The store stays as it is.

    Args:
        classifier: `run:ID` or `champion:DATASET`, or the result of an earlier update.
        labels: the class name of each image that is added or corrected, by the SHA-256 of its file in
            hex digits; None removes the image. Copies of an image change together.
        add_classes: names of further classes, behind the others; `labels` has images of each.
        remove_classes: names of classes that are removed with their images, before `labels` is applied.
        encode_prompts: returns the raw text features of prompts, by the same encoder, where those of a
            further class are not stored; the encoder's text tower when None.
        root: folder or URL of the store; CLIP_ADAPTER_ROOT when None, and ./clip-adapter-store when that
            is not set. An earlier update keeps its own.
        reporter: where to report a damaged champion that is skipped.

    Returns:
        The classifier, `saved`, and what a further update needs. `classifier` does not change.

    Raises:
        DataError: the method cannot be updated, a digest is malformed, an image to remove is not there, a
            class has no image left, a further class has the name of another, or fewer than two are left.
        UnknownNameError: there is no such class, run or dataset; the message suggests the nearest.
        RunStoreError: nothing was promoted, the run made no classifier of all classes, or its images are
            not recorded.
        NotStoredError: an image has no stored feature: extract or predict it first.
        EncoderError: prompts are not stored, and the text tower cannot be loaded.
        FeatureCacheError: a file of the store is damaged.
    """
    if isinstance(classifier, str):
        place = Settings.of(root=None if root is None else str(root)).location
        classifier = _open(classifier, place, reporter)
    for name in remove_classes:
        if name not in classifier.class_names:
            raise UnknownNameError("class", name, classifier.class_names)
    check_new_names(add_classes, known=classifier.class_names)
    is_kept = [name not in remove_classes for name in classifier.class_names]
    kept = [name for name in classifier.class_names if name not in remove_classes]
    names = (*kept, *add_classes)
    images = _edited(
        [image for image in classifier.images if image[1] in kept], labels or {}, names
    )
    _check_classes(images, names)
    prototypes = classifier.prototypes[is_kept]
    if add_classes:
        added = _text_features(classifier, add_classes, encode_prompts)
        prototypes = np.concatenate([prototypes, added])
    moments, n_edits = _moments(classifier, images, names)
    return replace(
        classifier,
        class_names=names,
        prototypes=prototypes,
        images=images,
        moments=moments,
        n_edits=n_edits,
    )


def _open(name: str, root: Location, reporter: Reporter) -> UpdatableClassifier:
    """The classifier of a recorded run or of a champion, from the features of its images."""
    if name.startswith(CHAMPION):
        dataset = stored_name(name.removeprefix(CHAMPION), root=root)
        run = find_run(root, current_champion(dataset, root, reporter).record.run_id)
    elif name.startswith(RUN):
        run = find_run(root, name.removeprefix(RUN))
    else:
        raise DataError(
            f"{name!r:.200} names no run: expected run:ID or champion:DATASET, as a file does not hold the "
            "images that it was trained on"
        )
    check_has_classifier(run)
    if run.protocol != "all-classes":
        raise RunStoreError(
            f"run {run.run_id} has the protocol {run.protocol}, and learned from half of the classes: name "
            "a run of all classes"
        )
    method, features = method_and_features(root, run)
    if not isinstance(method, MomentsMethod):
        able = [each for each, kind in METHODS.items() if issubclass(kind, MomentsMethod)]
        raise DataError(
            f"a classifier of {run.method} cannot be updated, as it is not computed from sums over images: "
            f"expected one of {' or '.join(able)}; train again instead"
        )
    recorded = recorded_images(root, run)["train"]
    images = tuple((digest, run.class_names[label]) for digest, label in recorded)
    used = run.hyperparameters or vars(run.settings)
    return UpdatableClassifier(
        run=run,
        method=method,
        # Grids and the way of choosing among them are no settings of the classifier.
        settings={name: value for name, value in used.items() if isinstance(value, int | float)},
        metadata=classifier_metadata(
            root,
            run,
            is_imported=features.encoded.dataset.is_imported,
            encoding=features.encoding,
        ),
        class_names=run.class_names,
        prototypes=class_prototypes(features.prompt_features),
        images=images,
        moments=_sums(method, features, images, run.class_names),
        n_edits=0,
        features=features,
    )


def _edited(
    images: Sequence[Image], labels: Mapping[str, str | None], names: Sequence[str]
) -> tuple[Image, ...]:
    """The images under their new labels."""
    known = {digest for digest, _ in images}
    changed: dict[bytes, str | None] = {}
    for digits, label in labels.items():
        digest = _digest(digits)
        if label is None and digest not in known:
            raise DataError(
                f"image {digest.hex()} cannot be removed, as the classifier was not trained on it: expected "
                "one of its training images"
            )
        if label is not None and label not in names:
            raise UnknownNameError("class", label, names)
        changed[digest] = label
    relabelled = [(digest, changed.get(digest, label)) for digest, label in images]
    added = [(digest, label) for digest, label in changed.items() if digest not in known]
    return tuple((digest, label) for digest, label in relabelled + added if label is not None)


def _digest(digits: str) -> bytes:
    try:
        digest = bytes.fromhex(digits)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise DataError(
            f"{digits!r:.80} is no digest of an image: expected the SHA-256 of its file in 64 hex digits, "
            "as the column image_sha256 has it"
        )
    return digest


def _check_classes(images: Sequence[Image], names: Sequence[str]) -> None:
    if len(names) < 2:
        raise DataError(f"{len(names)} classes would be left: expected two or more")
    filled = {label for _, label in images}
    if empty := [name for name in names if name not in filled]:
        raise DataError(
            f"{len(empty)} of {len(names)} classes would have no image ({', '.join(map(repr, empty[:5]))}): "
            "label at least one image of each, or remove the class"
        )


def _moments(
    before: UpdatableClassifier, images: tuple[Image, ...], names: tuple[str, ...]
) -> tuple[ClassMoments, int]:
    """The sums over edited images, and the number of edits since the run."""
    old, new = Counter(before.images), Counter(images)
    removed, added = list((old - new).elements()), list((new - old).elements())
    touched = Counter(digest for digest, _ in removed) | Counter(digest for digest, _ in added)
    n_edits = before.n_edits + touched.total()
    if n_edits // MOST_EDITS > before.n_edits // MOST_EDITS:
        return _sums(before.method, before.features, images, names), n_edits
    rows = _unit_rows(before.method, before.features, touched)
    moments = before.moments
    if removed:
        moments = moments.remove(*_with_labels(rows, removed, before.class_names))
    for label in reversed(range(len(before.class_names))):
        if before.class_names[label] not in names:
            moments = moments.remove_class(label)
    moments = moments.add_classes(len(names) - len(moments.counts))
    if added:
        moments = moments.add(*_with_labels(rows, added, names))
    return moments, n_edits


def _sums(
    method: MomentsMethod,
    features: DatasetFeatures,
    images: Sequence[Image],
    names: Sequence[str],
) -> ClassMoments:
    rows = _unit_rows(method, features, {digest for digest, _ in images})
    return ClassMoments.of(*_with_labels(rows, images, names), len(names))


def _unit_rows(
    method: MomentsMethod, features: DatasetFeatures, image_sha256: Collection[bytes]
) -> dict[bytes, Float[np.ndarray, "v d"]]:
    """Features of length 1 of images: each itself, or the views that the method takes."""
    encoded, digests = features.encoded, list(image_sha256)
    store = FeatureStore(encoded.dataset.root, encoded.encoder)
    views = encoded.views_for(n_views(method)) or (0,)
    by_view = [unit_rows(store.read_images(digests, view=view)) for view in views]
    return dict(zip(digests, np.stack(by_view, axis=1), strict=True))


def _with_labels(
    rows: Mapping[bytes, Float[np.ndarray, "v d"]], images: Sequence[Image], names: Sequence[str]
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
    """The rows of one or more images, and the class number of each row."""
    label_of = {name: label for label, name in enumerate(names)}
    chosen = [rows[digest] for digest, _ in images]
    labels = np.array([label_of[name] for _, name in images], dtype=np.int64)
    return np.concatenate(chosen), np.repeat(labels, len(chosen[0]))


def _text_features(
    classifier: UpdatableClassifier,
    class_names: Sequence[str],
    encode_prompts: Callable[[list[str]], Float[np.ndarray, "n d"]] | None,
) -> Float[np.ndarray, "c d"]:
    """The prototypes of further classes, by the templates of the run."""
    features, own = classifier.features, _own_prompts(classifier.run)
    by_class = [
        # A class that was removed before has its own prompts again.
        [prompt.replace("{}", name) for prompt in own.get(name) or classifier.run.templates]
        for name in class_names
    ]
    prompts = [prompt for each in by_class for prompt in each]
    store = FeatureStore(features.encoded.dataset.root, features.encoded.encoder)
    if encode_prompts is None and store.missing_prompts(prompts):
        if features.encoding is None or features.encoded.dataset.is_imported:
            raise DataError(
                f"no text feature is stored of {prompts[0]!r:.200}, and no model encodes prompts for "
                "imported features: give encode_prompts"
            )
        features.encoding.refuse_other(features.encoded.encoder)
        encode_prompts = features.encoding.encoder.encode_prompts
    encoded = encode_prompts(prompts) if encode_prompts else store.read_prompts(prompts)
    ends = np.cumsum([len(each) for each in by_class])[:-1]
    return np.concatenate([class_prototypes(each[np.newaxis]) for each in np.split(encoded, ends)])


def _own_prompts(run: RunRecord) -> dict[str, tuple[str, ...]]:
    """The prompts of each class in place of the templates; empty where no class has any."""
    return dict(zip(run.class_names, run.class_prompts or (), strict=False))
