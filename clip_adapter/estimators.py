"""Estimators for scikit-learn: few-shot classifiers of image features, and an encoder of image files.

They work in a Pipeline, in cross-validation and in GridSearchCV. Importing this module imports
scikit-learn; torch is imported when an estimator is fitted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from clip_adapter.devices import choose_device
from clip_adapter.encoders import DEFAULT_MODEL, Precision
from clip_adapter.encoders.features import LEAST_NORM
from clip_adapter.errors import DataError, ParameterError, UnknownNameError
from clip_adapter.images import (
    ResizeMode,
)
from clip_adapter.methods import (
    METHODS,
    FewShotTask,
    Method,
    SavedClassifier,
    create_method,
    fit_method,
    setting_names,
)
from clip_adapter.methods.method import SelectedOn
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.image_features import features_of_files
from clip_adapter.pipeline.load import load
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.settings import Settings

PrototypesSource = Literal["given", "class means"]
"""Where the text side of a fitted classifier comes from."""

LARGEST_NORM = 1e18
"""The largest length of a feature, whose square float32 can hold."""


class _FeatureClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """What the classifiers of features share; a subclass says which method and settings it stands for."""

    class_names: Sequence[Any] | None
    prototypes: Any
    logit_scale: float
    validation_shots: int
    device: str
    random_state: Any

    def _named_method(self) -> tuple[str, dict[str, Any]]:
        """Name of the method, and the settings that were given."""
        raise NotImplementedError

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the method to labelled features.

        Up to `validation_shots` images of each class, at most half of them, are held out where the
        method has a hyper-parameter to choose, and only choose it.

        Args:
            X: raw features of n images, not normalised, of shape (n, d); computed in float32.
            y: n labels, numbers or strings. With `class_names`, each is one of them, or its number.

        Returns:
            The estimator.

        Raises:
            DataError: a feature is longer than 1e18, there is a single class, prototypes and features
                disagree, a class has no mean direction to stand in for its text, or the method needs
                a text tower, as CoOp does.
            UnknownNameError: there is no such method, setting or class name.
            SettingsError: a setting has an invalid value.
            ParameterError: `class_names`, `prototypes` or `validation_shots` have an invalid value.
            ValueError: scikit-learn refuses the arrays or labels.
        """
        features, labels = _validated(self, X, y)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        seed = _seed(self.random_state)
        method, held_out = self._method(features, numbers, seed=seed)
        task = self._task(features, numbers, held_out, seed=seed)
        (fitted,) = fit_method(method, [task], device=choose_device(self.device))
        self.classifier_ = fitted.classifier
        self.settings_ = dict(fitted.settings)
        self.selected_on_: SelectedOn = fitted.selected_on
        self.n_validation_ = int(held_out.sum())
        self.prototypes_source_: PrototypesSource = (
            "class means" if self.prototypes is None else "given"
        )
        return self

    def decision_function(self, X: Any) -> Float[np.ndarray, "..."]:
        """The logits of the classes; of two classes the second's minus the first's.

        Args:
            X: raw features of n images.

        Returns:
            An array of shape (n, c) in the order of `classes_`, or of shape (n,) for two classes.

        Raises:
            NotFittedError: the estimator was not fitted.
            DataError: a feature is longer than 1e18.
            ValueError: scikit-learn refuses the array, as one of another width.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n c"]:
        """The softmax of the logits, one row an image, one column a class of `classes_`.

        Args:
            X: raw features of n images.

        Raises:
            NotFittedError: the estimator was not fitted.
            DataError: a feature is longer than 1e18.
            ValueError: scikit-learn refuses the array, as one of another width.
        """
        logits = self._logits(X).astype(np.float64)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: Float[np.ndarray, "n c"] = weights / weights.sum(axis=1, keepdims=True)
        return probabilities.astype(np.float32)

    def predict(self, X: Any) -> np.ndarray:
        """The label with the largest logit for each image.

        Args:
            X: raw features of n images.

        Raises:
            NotFittedError: the estimator was not fitted.
            DataError: a feature is longer than 1e18.
            ValueError: scikit-learn refuses the array, as one of another width.
        """
        numbers = self._logits(X).argmax(axis=1)
        chosen: np.ndarray = self.classes_[numbers]
        return chosen

    def to_saved(self, *, encoder: str = "", logit_bias: float | None = None) -> SavedClassifier:
        """The fitted classifier as `clip_adapter.methods.save_classifier` writes it to a file.

        Args:
            encoder: fingerprint of the encoder whose features were classified; empty when unknown.
            logit_bias: constant that the encoder adds to every logit; None where it has none.

        Raises:
            NotFittedError: the estimator was not fitted.
        """
        check_is_fitted(self)
        name, _ = self._named_method()
        return SavedClassifier(
            classifier=self.classifier_,
            method=name,
            settings={**self.settings_, "prototypes_source": self.prototypes_source_},
            encoder=encoder,
            logit_bias=logit_bias,
        )

    def _method(
        self, features: Float[np.ndarray, "n d"], numbers: Int[np.ndarray, " n"], *, seed: int
    ) -> tuple[Method, Bool[np.ndarray, " n"]]:
        """The method, and the rows that are held out to choose its hyper-parameters."""
        name, given = self._named_method()
        given = {**_narrow_settings(name, features.shape[1]), **given}
        method = create_method(name, given)
        nothing = np.zeros(len(numbers), dtype=bool)
        if not method.needs_validation(self._task(features, numbers, nothing, seed=seed)):
            return method, nothing
        held_out = held_out_rows(numbers, at_most=self.validation_shots, seed=seed)
        if not held_out.any() and "selection" in setting_names(type(method)):
            method = create_method(name, {**given, "selection": "none"})
        return method, held_out

    def _task(
        self,
        features: Float[np.ndarray, "n d"],
        numbers: Int[np.ndarray, " n"],
        held_out: Bool[np.ndarray, " n"],
        *,
        seed: int,
    ) -> FewShotTask:
        rows, labels = features[~held_out], numbers[~held_out]
        places = _places(self.classes_, self.class_names)
        names = self.classes_ if self.class_names is None else list(self.class_names)
        if self.prototypes is None:
            prompts = class_means(rows, labels)[:, np.newaxis]
        else:
            prompts = _prompt_features(self.prototypes, n_classes=len(names))[places]
        return FewShotTask(
            train_features=rows,
            train_labels=labels,
            val_features=features[held_out],
            val_labels=numbers[held_out],
            prompt_features=prompts,
            logit_scale=self.logit_scale,
            class_names=tuple(str(names[place]) for place in places),
            shots=int(np.bincount(labels).max()),
            seed=seed,
        )

    def _logits(self, X: Any) -> Float[np.ndarray, "n c"]:
        check_is_fitted(self)
        (features,) = _validated(self, X, reset=False)
        logits: Float[np.ndarray, "n c"] = self.classifier_.logits(features)
        return logits


class FewShotClassifier(_FeatureClassifier):
    """A few-shot method of this library as a classifier of scikit-learn.

    It is fitted to raw image features, as `CachedImageEncoder` gives them, and computes in float32. Only
    the direction of a feature matters to most methods. One of zeros has none: its cosine with
    everything is 0, as `sklearn.preprocessing.normalize` has it, so that only biases decide its class.

    Without `prototypes`, the mean direction of each class's training features stands in for its text
    feature: that suits methods that learn from images alone (linear-probe, gda), "zero-shot" is then
    the nearest class mean, and others lose what text knows. `prototypes_source_` says which it was.

    Where a method has a hyper-parameter to choose, some training images are held out for it, see
    `validation_shots`; the classifier is not fitted to them. Where nothing can be held out, as with one
    image a class, the method's defaults are taken. With the setting `selection` "held-out-shots" the training
    images choose in turns, so that all of them are trained on. `selected_on_` says what chose.

    Args:
        method: name of a method, see `clip_adapter.methods.METHODS`; those that need a text tower, as
            coop does, cannot be fitted to features.
        class_names: labels in the order of `prototypes`; or their names in that order, where labels
            are their numbers from 0. None for the sorted labels. Those that do not occur in `y` are left
            out.
        prototypes: raw text features of shape (c, d), or (c, t, d) for t prompts of each class, in the
            order of `class_names`. None for the class means of the training features.
        settings: settings of the method by name; as default where None. The default of `reduction` is
            the width of features narrower than it.
        logit_scale: CLIP's inverse temperature, that of the encoder.
        validation_shots: images of each class to hold out at most, where the method has something to
            choose; never more than half of a class. The default is that of this library's protocol, in
            which min(K, 4) images of a class stand beside K for training.
        device: torch device that trains, such as "cuda:0", or "auto".
        random_state: seed of the held-out images, the initialisation and the visiting order: a number is
            the seed itself; None draws one at each fit.

    Attributes:
        classes_: labels, sorted; the order of the columns of logits.
        n_features_in_: width of the features.
        feature_names_in_: names of the columns, where `fit` got a data frame with such.
        classifier_: the fitted `clip_adapter.methods.Classifier`.
        settings_: hyper-parameters that were chosen or that follow from a recipe, by name.
        selected_on_: the data that chose them, see `clip_adapter.methods.method.SelectedOn`.
        n_validation_: number of images that were held out.
        prototypes_source_: "given", or "class means" where those of training features stand in for text.

    >>> features = [[1, 0], [2, 1], [0, 1], [-1, 2]]
    >>> FewShotClassifier("gda").fit(features, ["a", "a", "b", "b"]).predict([[3, 1]])
    array(['a'], dtype='<U1')
    """

    def __init__(
        self,
        method: str = "clip-adapter",
        *,
        class_names: Sequence[Any] | None = None,
        prototypes: Any = None,
        settings: Mapping[str, Any] | None = None,
        logit_scale: float = 100.0,
        validation_shots: int = 4,
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.method = method
        self.class_names = class_names
        self.prototypes = prototypes
        self.settings = settings
        self.logit_scale = logit_scale
        self.validation_shots = validation_shots
        self.device = device
        self.random_state = random_state

    def _named_method(self) -> tuple[str, dict[str, Any]]:
        return self.method, dict(self.settings or {})


class ClipAdapterClassifier(_FeatureClassifier):
    """CLIP-Adapter as a classifier of scikit-learn: `FewShotClassifier` with its settings as parameters.

    `f' = a A(f) + (1 - a) f` and `W' = b A(W) + (1 - b) W` on raw features, then CLIP's scaled cosine
    of f' and W' (Gao et al., https://arxiv.org/abs/2110.04544, equations 2 to 5). It is fitted to raw
    image features; one of zeros has no direction, and a cosine of 0 with every class. Without
    `prototypes`, the mean direction of each class's training features stands in for its text feature,
    and `prototypes_source_` says so.

    Args:
        class_names: labels in the order of `prototypes`; or their names in that order, where labels
            are their numbers from 0. None for the sorted labels. Those that do not occur in `y` are left
            out.
        prototypes: raw text features of shape (c, d), or (c, t, d) for t prompts of each class, in the
            order of `class_names`. None for the class means of the training features.
        branch: the adapted side: visual, text, or both.
        selection: the images that choose ratios and length: validation, held-out-shots or none.
        ratio_mode: how the residual ratios are determined: constant, learned or
            hypernetwork; see `clip_adapter.methods.ClipAdapter`.
        residual_ratio: weight a of the adapted image feature, from 0 to 1; None for one chosen among
            six, or 0.6 where no image can be held out to choose it.
        text_residual_ratio: weight b of the adapted text feature, chosen likewise.
        reduction: feature width divided by hidden width; None for 4, or the width of narrower features.
        output_activation: whether the adapter ends in a second ReLU, as the authors' code has it.
        recipe: "paper", as the authors train, or "fast", in a fraction of the time.
        epochs: passes over the training images; None for the recipe's.
        learning_rate: learning rate of the first step after the warm-up; None for the recipe's.
        logit_scale: CLIP's inverse temperature, that of the encoder.
        validation_shots: images of each class to hold out at most to choose ratios; never more than
            half of a class.
        device: torch device that trains, such as "cuda:0", or "auto".
        random_state: seed of the held-out images, the initialisation and the visiting order: a number is
            the seed itself; None draws one at each fit.

    Attributes:
        classes_: labels, sorted; the order of the columns of logits.
        n_features_in_: width of the features.
        feature_names_in_: names of the columns, where `fit` got a data frame with such.
        classifier_: the fitted `clip_adapter.methods.Classifier`.
        settings_: hyper-parameters that were chosen or that follow from the recipe, by name.
        selected_on_: the data that chose them, see `clip_adapter.methods.method.SelectedOn`.
        n_validation_: number of images that were held out.
        prototypes_source_: "given", or "class means" where those of training features stand in for text.
    """

    def __init__(
        self,
        *,
        class_names: Sequence[Any] | None = None,
        prototypes: Any = None,
        branch: str = "visual",
        selection: str = "validation",
        ratio_mode: str = "constant",
        residual_ratio: float | None = None,
        text_residual_ratio: float | None = None,
        reduction: int | None = None,
        output_activation: bool = True,
        recipe: str = "paper",
        epochs: int | None = None,
        learning_rate: float | None = None,
        logit_scale: float = 100.0,
        validation_shots: int = 4,
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.class_names = class_names
        self.prototypes = prototypes
        self.branch = branch
        self.selection = selection
        self.ratio_mode = ratio_mode
        self.residual_ratio = residual_ratio
        self.text_residual_ratio = text_residual_ratio
        self.reduction = reduction
        self.output_activation = output_activation
        self.recipe = recipe
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.logit_scale = logit_scale
        self.validation_shots = validation_shots
        self.device = device
        self.random_state = random_state

    def _named_method(self) -> tuple[str, dict[str, Any]]:
        names = ("branch", "selection", "ratio_mode", "reduction", "output_activation")
        training = ("recipe", "epochs", "learning_rate")
        ratios = {
            f"{name}s": (getattr(self, name),)
            for name in ("residual_ratio", "text_residual_ratio")
            if getattr(self, name) is not None
        }
        given = {name: getattr(self, name) for name in (*names, *training)}
        return "clip-adapter", ratios | {
            name: value for name, value in given.items() if value is not None
        }


class TrainedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A classifier that was trained already, as a classifier of scikit-learn: `fit` loads it.

    It takes raw features `[n, d]` of the classifier's encoder, or paths of images, so that scores,
    calibration and cross-validation of scikit-learn work on a champion, a run or a file.

    Args:
        classifier: path of a classifier's file, `champion:DATASET` or `run:ID`, as `clip_adapter.load`
            takes it.
        root: folder or URL of the store; `CLIP_ADAPTER_ROOT`, else "clip-adapter-store", where None.
        model: name of the encoder's model in place of the one that the file names.
        device: torch device of the encoder, such as "cuda:0", or "auto".

    Attributes:
        classes_: class names, sorted; the order of the columns of probabilities.
        n_features_in_: width of the features.
        loaded_: the loaded classifier, whose `class_names` have the order of its training.
    """

    def __init__(
        self,
        classifier: str | Path,
        *,
        root: str | Path | None = None,
        model: str | None = None,
        device: str = "auto",
    ) -> None:
        self.classifier = classifier
        self.root = root
        self.model = model
        self.device = device

    def fit(self, X: Any = None, y: Any = None) -> Self:  # noqa: ARG002  # scikit-learn gives both
        """Load the classifier; nothing is learned from the arguments.

        Args:
            X: ignored.
            y: ignored.

        Returns:
            The estimator.

        Raises:
            ClipAdapterError: the classifier cannot be loaded; the message says why.
            FileNotFoundError: there is no such file.
        """
        self.loaded_ = load(
            self.classifier,
            root=None if self.root is None else str(self.root),
            model=self.model,
            device=self.device,
        )
        names = np.array(self.loaded_.class_names)
        self._order = np.argsort(names)
        self.classes_ = names[self._order]
        self.n_features_in_ = self.loaded_.width
        return self

    def decision_function(self, X: Any) -> Float[np.ndarray, "..."]:
        """Logits, one column a class of `classes_`; of two classes the second's minus the first's.

        Args:
            X: raw features of n images, or their paths.

        Raises:
            NotFittedError: the estimator was not fitted.
            ClipAdapterError: an image or the features cannot be used; the message says why.
        """
        check_is_fitted(self)
        logits = self.loaded_.logits(_features_or_paths(X))[:, self._order]
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n c"]:
        """Probabilities after the temperature, one column a class of `classes_`.

        Args:
            X: raw features of n images, or their paths.

        Raises:
            NotFittedError: the estimator was not fitted.
            ClipAdapterError: an image or the features cannot be used; the message says why.
        """
        check_is_fitted(self)
        found: Float[np.ndarray, "n c"] = self.loaded_.predict_proba(_features_or_paths(X))
        return found[:, self._order]

    def prediction_sets(self, X: Any, *, coverage: float = 0.9) -> Bool[np.ndarray, "n c"]:
        """Mark classes of which one is the true one with a stated probability, one column a class of `classes_`.

        Args:
            X: raw features of n images, or their paths.
            coverage: probability that the set has the true class, above 0 and below 1.

        Returns:
            True for the classes of each image's set; a row without any is "none of these".

        Raises:
            NotFittedError: the estimator was not fitted.
            ClipAdapterError: the classifier cannot make such sets, or an image or the features cannot be
                used; the message says why.
        """
        check_is_fitted(self)
        found = self.loaded_.prediction_sets(_features_or_paths(X), coverage=coverage)
        return found[:, self._order]

    def predict(self, X: Any) -> np.ndarray:
        """The name of the most probable class of each image.

        Args:
            X: raw features of n images, or their paths.

        Raises:
            NotFittedError: the estimator was not fitted.
            ClipAdapterError: an image or the features cannot be used; the message says why.
        """
        check_is_fitted(self)
        return self.loaded_.predict(_features_or_paths(X))


class CachedImageEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Image files in, raw image features out, of which each is encoded once and stored.

    The features are those of `extract`, in the same store: an image that was encoded before, in a
    dataset, another fold or under another name, is read from there. The model is loaded when something is
    to be encoded, and kept by the fitted encoder; clones and pickles do not contain it. There is nothing
    to learn: `fit` only looks the model up.

    Args:
        model: name of an encoder, as `extract` takes it; "glyphs" is the built-in one.
        root: folder of the store, or its URL; `CLIP_ADAPTER_ROOT`, else "clip-adapter-store", where None.
        device: torch device that encodes, such as "cuda:0", or "auto".
        precision: numeric format of the encoder's forward pass: fp32, bf16 or fp16.
        resize: shortest (CLIP), squash (CoOp) or longest; that of the model where None.
        preprocessing: tag whose preprocessing weights have that come without; None for the known one.

    Attributes:
        encoding_: the encoder by its name and options; `encoding_.encoder` is the loaded one.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        root: str | Path | None = None,
        device: str = "auto",
        precision: Precision = "fp32",
        resize: ResizeMode | None = None,
        preprocessing: str | None = None,
    ) -> None:
        self.model = model
        self.root = root
        self.device = device
        self.precision = precision
        self.resize = resize
        self.preprocessing = preprocessing

    def __sklearn_tags__(self) -> Any:
        """Tags for scikit-learn: images are named by text, one a row."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002  # a pipeline gives labels
        """Check the paths and look the encoder up in the store; nothing is loaded or encoded.

        Args:
            X: paths of n image files: a list, an array of shape (n,) or (n, 1), or a column of a data
                frame.
            y: ignored.

        Returns:
            The encoder.

        Raises:
            DataError: an element is no path, or there is none.
            UnknownNameError: there is no such model.
        """
        _paths(X)
        self.encoding_ = Encoding(
            model=self.model,
            device=self.device,
            precision=self.precision,
            resize=self.resize,
            preprocessing=self.preprocessing,
        ).look_up(Settings.of(root=self.root).location)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """The state without what the store said of the encoder: elsewhere it may be another one."""
        state: dict[str, Any] = dict(super().__getstate__())  # may be the attributes themselves
        if "encoding_" in state:
            state["encoding_"] = replace(state["encoding_"], known=None)
        return state

    def transform(self, X: Any) -> Float[np.ndarray, "n d"]:
        """The raw features of n images in their order, float32; those that are not stored are encoded.

        Args:
            X: paths of n image files, as `fit` takes them.

        Raises:
            NotFittedError: the encoder was not fitted.
            DataError: an element is no path, or there is none.
            ImageError: a file is missing or no image; the message names it.
            EncoderError: the model cannot be loaded.
            UnknownNameError: there is no such model.
            FeatureCacheError: stored features are damaged.
        """
        check_is_fitted(self)
        features = features_of_files(
            _paths(X),
            self.encoding_,
            root=Settings.of(root=self.root).location,
            reporter=Reporter(),
        )
        self._n_features_out = features.shape[1]  # for the names of the columns
        return features


def held_out_rows(
    labels: Int[np.ndarray, " n"], *, at_most: int, seed: int
) -> Bool[np.ndarray, " n"]:
    """Mark the images that are held out to choose hyper-parameters, drawn in each class.

    Of n images of a class `min(at_most, n // 2)` are held out, so that one image is never held out.

    Args:
        labels: class numbers.
        at_most: largest number of images of a class.
        seed: seed of the draw.

    Raises:
        ParameterError: the largest number is no whole number from 0 up.
    """
    if isinstance(at_most, bool) or not isinstance(at_most, int | np.integer) or at_most < 0:
        raise ParameterError(
            f"validation_shots is {at_most!r}: expected a whole number, 0 to hold nothing out"
        )
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        own = generator.permutation(np.flatnonzero(labels == label))
        held_out[own[: min(int(at_most), len(own) // 2)]] = True
    return held_out


def class_means(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "c d"]:
    """The mean direction of the features of each class, which stands in for its text feature.

    Args:
        features: raw features; one of zeros does not change the direction.
        labels: class numbers, of which each up to the largest occurs.

    Raises:
        DataError: the features of a class are all zero, or cancel one another.
    """
    wide = features.astype(np.float64)
    directions = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), LEAST_NORM)
    means = np.stack([directions[labels == label].mean(axis=0) for label in np.unique(labels)])
    if (without := np.linalg.norm(means, axis=1) <= LEAST_NORM).any():
        raise DataError(
            f"the training features of {without.sum()} classes have no mean direction that could stand in "
            "for a text feature, as they are zero or cancel one another: give prototypes"
        )
    return means.astype(np.float32)


def _validated(
    estimator: BaseEstimator, *arrays: Any, reset: bool = True
) -> tuple[np.ndarray, ...]:
    """Features in float32, and labels where they are given, as scikit-learn validates them."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused as infinite
        valid = validate_data(estimator, *arrays, reset=reset, dtype=np.float32)
    features, *labels = valid if len(arrays) > 1 else (valid,)
    norms = np.linalg.norm(features.astype(np.float64), axis=1)
    if (too_long := np.flatnonzero(norms > LARGEST_NORM)).size:
        raise DataError(
            f"{too_long.size} of {len(features)} features are too long for float32, the first is row "
            f"{too_long[0]} of length {norms[too_long[0]]:g}: expected {LARGEST_NORM:g} at most; only "
            "directions matter, so divide all features by one number"
        )
    return features, *labels


def _seed(random_state: Any) -> int:
    generator = check_random_state(random_state)  # refuses what is no seed
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(generator.randint(2**31 - 1))


def _narrow_settings(name: str, width: int) -> dict[str, Any]:
    """The default of `reduction` where the method's own would leave no hidden unit."""
    if name not in METHODS or "reduction" not in setting_names(METHODS[name]):
        return {}
    default: int = vars(create_method(name))["reduction"]
    return {"reduction": width} if width < default else {}


def _places(classes: np.ndarray, class_names: Sequence[Any] | None) -> list[int]:
    """The place of each label among the class names."""
    if class_names is None:
        return list(range(len(classes)))
    names = list(class_names)
    if len({str(name) for name in names}) < len(names):
        raise ParameterError(f"class_names holds a name twice: {names}: give each class its own")
    return [_place(label, names) for label in classes.tolist()]


def _place(label: Any, names: list[Any]) -> int:
    if label in names:
        return names.index(label)
    if isinstance(label, int) and 0 <= label < len(names):
        return int(label)
    raise UnknownNameError("class", str(label), [str(name) for name in names])


def _prompt_features(prototypes: Any, *, n_classes: int) -> Float[np.ndarray, "c t d"]:
    features = np.asarray(prototypes, dtype=np.float32)
    if features.ndim == 2:
        features = features[:, np.newaxis]
    if features.ndim != 3 or len(features) != n_classes:
        raise ParameterError(
            f"prototypes have the shape {np.shape(prototypes)} for {n_classes} classes: expected (c, d), "
            "or (c, t, d) for t prompts of each class, in the order of class_names or of the sorted labels"
        )
    return features


def _features_or_paths(given: Any) -> Any:
    """Features as an array, or paths as a list, of an array, a list or a data frame."""
    array = np.asarray(given)
    if array.ndim == 2 and np.issubdtype(array.dtype, np.number):
        return array.astype(np.float32)
    return _paths(given)


def _paths(given: Any) -> list[Path]:
    """The paths in a list, an array, or a column of a data frame."""
    column = given.to_numpy() if hasattr(given, "to_numpy") else given
    if isinstance(column, np.ndarray) and column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if isinstance(column, str | PathLike) or np.ndim(np.asarray(column, dtype=object)) != 1:
        raise DataError(
            f"images are given as {type(given).__name__}: expected a list of paths, an array of shape "
            "(n,) or (n, 1), or a column of a data frame"
        )
    paths = list(column)
    wrong = [path for path in paths if not isinstance(path, str | PathLike)]
    if wrong or not paths:
        found = f"{wrong[0]!r} is no path" if wrong else "there is no image"
        raise DataError(f"{found}: expected paths of image files, one or more")
    return [Path(path) for path in paths]
