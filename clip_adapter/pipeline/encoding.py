"""The encoder of a request and the views that it encodes, without loading the encoder."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from clip_adapter.datasets import IMPORTED, check_imported_alone
from clip_adapter.devices import choose_device
from clip_adapter.encoders import (
    BUILT_IN,
    HF_HUB,
    LOCAL_DIR,
    EncoderError,
    Precision,
    ReachabilityCheck,
    check_available,
    check_learns_prompts,
    find_settings,
    hub_offline,
    model_config,
    parse_model_name,
    weights_key,
    weights_source,
)
from clip_adapter.images import Augmentation, ResizeMode, augmented_views
from clip_adapter.methods import Method
from clip_adapter.pipeline.reporter import Reporter
from feature_cache import FeatureCacheError, FeatureStore, Location, ObjectStoreError, stores

if TYPE_CHECKING:
    from clip_adapter.encoders import Encoder

WEIGHTS_KEY, WEIGHTS_SOURCE = "weights_key", "weights_source"
"""Fields of a store's description of its encoder, beside those of its identity."""


class EncoderFacts(NamedTuple):
    """Stored facts about an encoder that suffice to read its features.

    Attributes:
        fingerprint: fingerprint of the encoder.
        logit_scale: inverse temperature of the encoder.
        logit_bias: constant that a sigmoid model adds to every logit; None where it has none.
        model_config: open_clip's configuration of the model, as JSON.
    """

    fingerprint: str
    logit_scale: float
    logit_bias: float | None = None
    model_config: str = "{}"


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """An encoder by its name and options, and the views of every image that it encodes.

    Attributes:
        model: a name `load_encoder` knows; None for imported features, which no model encodes.
        device: torch device that encodes, such as "cuda:0", or "auto".
        precision: numeric format of the forward pass; part of the fingerprint.
        resize: shortest (CLIP), squash (CoOp) or longest; that of the model when None.
        preprocessing: tag whose preprocessing weights have that come without; None for the known one.
        views: number of augmented views of an image, beside the evaluation view.
        augmentation: how augmented views are drawn: tip-adapter or coop.
        processes: number of processes that load images; 0 for threads.
        known: stored facts about the encoder, found by `look_up`; None if it has to be loaded.

    Raises:
        ImageError: there are fewer views than `views`.
    """

    model: str | None = None
    device: str = "auto"
    precision: Precision = "fp32"
    resize: ResizeMode | None = None
    preprocessing: str | None = None
    views: int = 0
    augmentation: Augmentation = "tip-adapter"
    processes: int = 0
    known: EncoderFacts | None = None

    def __post_init__(self) -> None:
        """Refuse views that do not exist, before anything is done."""
        _ = self.view_numbers

    def __getstate__(self) -> dict[str, Any]:
        """The fields without the loaded encoder, which another process loads again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def model_name(self) -> str:
        """Name of the model; that of the built-in one for imported features."""
        return self.model or BUILT_IN

    @property
    def view_numbers(self) -> list[int]:
        """View numbers of every image: the evaluation view 0, then the augmented views."""
        return [0, *augmented_views(self.views, self.augmentation)]

    @property
    def encoder(self) -> "Encoder":
        """The encoder, loaded on first access and kept.

        Raises:
            EncoderError: the model cannot be loaded.
            UnavailableError: this machine has no such device.
        """
        return self._loaded[0]

    @property
    def is_loaded(self) -> bool:
        """Whether the encoder is loaded already."""
        return "_loaded" in vars(self)

    @cached_property
    def _loaded(self) -> tuple["Encoder", dict[str, str]]:
        """The encoder, and the record of its weights by which `look_up` finds it again."""
        from clip_adapter.encoders import load_encoder  # noqa: PLC0415  # imports torch

        before = self._key(None)
        encoder = load_encoder(
            self.model_name,
            device=choose_device(self.device),
            precision=self.precision,
            resize=self.resize,
            preprocessing=self.preprocessing,
        )
        # Loading may fetch a newer file from the hub. Files there are named by their content; a
        # local file may be replaced while it is read, and then the record would name other weights.
        source = weights_source(self.model_name)
        key = self._key(source)
        if key and (key == before or source or self.model_name.startswith(HF_HUB)):
            return encoder, {WEIGHTS_KEY: key} | ({WEIGHTS_SOURCE: source} if source else {})
        return encoder, {}

    def look_up(self, root: Location) -> "Encoding":
        """A copy that knows which encoder was loaded from these weights before.

        Neither the model nor torch is loaded: the files of the weights are digested, and the store
        holds the fingerprint of the encoder that was loaded from files with this digest.

        Args:
            root: folder or URL of the store.

        Returns:
            A copy whose `known` is None where the files of the weights or their record are missing.
        """
        return replace(self, known=self._find(root))

    def _find(self, root: Location) -> EncoderFacts | None:
        keys: dict[str | None, str | None] = {}
        for store in stores(root):
            described = _description(store)
            for source in {None, *described.get(WEIGHTS_SOURCE, [])}:
                if source not in keys:
                    keys[source] = self._key(source)
                if keys[source] in described.get(WEIGHTS_KEY, []):
                    return EncoderFacts(
                        store.encoder,
                        float(described["logit_scale"][0]),
                        # Only a sigmoid model has one.
                        float(described["logit_bias"][0]) if "logit_bias" in described else None,
                        described.get("model_config", ["{}"])[0],
                    )
        return None

    def describe(self, store: FeatureStore) -> EncoderFacts:
        """Record the identity of the loaded encoder in its store, so that `look_up` finds it."""
        encoder, weights = self._loaded
        about = {"model": self.model_name, "logit_scale": repr(encoder.logit_scale)}
        if encoder.logit_bias is not None:
            about["logit_bias"] = repr(encoder.logit_bias)
        store.describe({**encoder.identity.fields(), **about})
        if weights:
            store.describe(weights)
        return EncoderFacts(
            encoder.fingerprint,
            encoder.logit_scale,
            encoder.logit_bias,
            encoder.identity.model_config,
        )

    def _key(self, source: str | None) -> str | None:
        return weights_key(
            self.model_name,
            precision=self.precision,
            resize=self.resize,
            preprocessing=self.preprocessing,
            source=source,
        )

    def check(
        self,
        dataset: str,
        *,
        images: object = None,
        reporter: Reporter = Reporter(),  # noqa: B008  # has no state
    ) -> None:
        """Raise if the encoder is not available, before any image is read.

        An encoder that the store knows needs no further check.

        Args:
            dataset: name of the dataset; features:NAME has an encoder already, and takes no other.
            images: the folder given with the dataset.
            reporter: where to report what takes seconds.

        Raises:
            UnknownNameError: there is no such architecture or tag.
            EncoderError: the weights are neither on this machine nor can they be downloaded, a package
                or the memory that the model needs is missing, or it is not known how images are
                preprocessed for it.
            DatasetError: a model, a precision or another parameter was given with features:NAME.
            UnavailableError: this machine has no such device.
        """
        check_imported_alone(
            dataset,
            model=self.model,
            images=images,
            precision=self.precision != "fp32",
            resize=self.resize,
            preprocessing=self.preprocessing,
            views=self.views,
        )
        if dataset.startswith(IMPORTED):
            return
        if self.device != "auto":
            choose_device(self.device)
        if self.known:
            return
        name = self.model_name
        check = None
        # Parsing such a name imports open_clip, which takes seconds, in which the hub can answer.
        if ":" in name and not name.startswith(LOCAL_DIR):
            reporter.log(f"checking {name}")
            check = ReachabilityCheck.of_hub()
        parsed = parse_model_name(name)
        with hub_offline(offline=not check_available(parsed, check=check)):
            find_settings(parsed, preprocessing=self.preprocessing)

    def check_text_tower(self) -> None:
        """Raise if prompts cannot be learned through the text tower; the model is not loaded.

        Raises:
            EncoderError: the text tower cannot be entered; the message says which towers can.
        """
        config = json.loads(self.known.model_config) if self.known else None
        if config is None:
            with hub_offline(offline=True):  # `check` has fetched it already
                config = model_config(self.model_name)
        check_learns_prompts(config, model=self.model_name)

    def with_views(self, methods: Iterable[Method]) -> "Encoding":
        """A copy with as many augmented views as the most demanding method trains on."""
        return replace(self, views=max(n_views(method) for method in methods))

    def refuse_other(self, fingerprint: str) -> None:
        """Raise if the encoder does not have this fingerprint.

        Raises:
            EncoderError: the model changed since it encoded the images.
        """
        if self.encoder.fingerprint != fingerprint:
            raise EncoderError(
                f"{self.model_name} is now encoder {self.encoder.fingerprint[:12]}, the images were "
                f"encoded by {fingerprint[:12]}: extract them again"
            )


def _description(store: FeatureStore) -> dict[str, list[str]]:
    """The recorded description of an encoder; empty if it is damaged or incomplete.

    The encoder is then loaded and described again.
    """
    try:
        described = store.descriptions()
    except ObjectStoreError:
        raise  # what is asked of the store next would fail as well
    except FeatureCacheError:
        return {}
    return described if described.keys() >= {"model", "logit_scale"} else {}


def n_views(method: Method) -> int:
    """Number of augmented views a method trains on; 0 for one that takes the images themselves."""
    wanted: int = getattr(method, "views", 0)
    return wanted
