"""Which encoder a request means, and which views of the images it is to encode."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from clip_adapter.datasets import IMPORTED, check_imported_alone
from clip_adapter.devices import choose_device
from clip_adapter.encoders import (
    BUILT_IN,
    EncoderError,
    Precision,
    parse_model_name,
    weights_key,
    weights_source,
)
from clip_adapter.images import Augmentation, ResizeMode, augmented_views
from clip_adapter.methods import Method
from clip_adapter.network import Probe
from feature_cache import FeatureCacheError, FeatureStore, Location, stores

if TYPE_CHECKING:
    from clip_adapter.encoders import Encoder

__all__ = ["EncoderFacts", "Encoding", "n_views"]

WEIGHTS_KEY, WEIGHTS_SOURCE = "weights_key", "weights_source"
"""Fields of a store's description of its encoder, beside those of its identity."""
LOCAL_DIR = "local-dir:"


class EncoderFacts(NamedTuple):
    """What is stored of an encoder, and enough to read its features.

    Attributes:
        fingerprint: names the encoder.
        logit_scale: its inverse temperature.
    """

    fingerprint: str
    logit_scale: float


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """An encoder by its name and options, and the views of every image that it encodes.

    Attributes:
        model: a name `load_encoder` knows; the built-in model when None.
        device: where to encode, in torch's spelling, or "auto".
        precision: numeric format of the forward pass; another one is another encoder.
        resize: the model's own way when None, else shortest (CLIP), squash (CoOp) or longest.
        views: number of augmented views an image, beside the evaluation view.
        augmentation: how they are drawn: tip-adapter or coop.
        processes: number of processes that load images; 0 for threads.

    Raises:
        ViewError: more views than there are.
    """

    model: str | None = None
    device: str = "auto"
    precision: Precision = "fp32"
    resize: ResizeMode | None = None
    views: int = 0
    augmentation: Augmentation = "tip-adapter"
    processes: int = 0

    def __post_init__(self) -> None:
        """Refuse views that do not exist, before anything is done."""
        _ = self.view_numbers

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: another process loads the encoder again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def model_name(self) -> str:
        """The model that encodes, chosen or not."""
        return self.model or BUILT_IN

    @property
    def view_numbers(self) -> list[int]:
        """The views of every image: the evaluation view, then the augmented ones."""
        return [0, *augmented_views(self.views, self.augmentation)]

    @cached_property
    def encoder(self) -> "Encoder":
        """The encoder, loaded when it is first asked for and kept.

        Raises:
            EncoderError: it cannot be loaded.
            DeviceError: this machine has no such device.
        """
        from clip_adapter.encoders import load_encoder  # noqa: PLC0415  # imports torch

        return load_encoder(
            self.model_name,
            device=choose_device(self.device),
            precision=self.precision,
            resize=self.resize,
        )

    def loaded(self, encoder: "Encoder") -> "Encoding":
        """This encoding with its encoder, so that it is not loaded again."""
        vars(self)["encoder"] = encoder
        return self

    def known(self, root: Location) -> EncoderFacts | None:
        """The encoder as a store knows it from an earlier load of the same weights.

        Nothing is loaded, torch least of all: the files of weights are digested, and the store asked
        which encoder was loaded from files like these.

        Args:
            root: folder or URL of the store.

        Returns:
            None where the weights or their record are not there.
        """
        keys: dict[str | None, str | None] = {}
        for store in stores(root):
            described = _description(store)
            for source in {None, *described.get(WEIGHTS_SOURCE, [])}:
                if source not in keys:
                    keys[source] = self._key(source)
                if keys[source] in described.get(WEIGHTS_KEY, []):
                    return EncoderFacts(store.encoder, float(described["logit_scale"][0]))
        return None

    def describe(self, store: FeatureStore) -> EncoderFacts:
        """Record in its store what the loaded encoder is, so that `known` finds it."""
        encoder = self.encoder
        about = {"model": self.model_name, "logit_scale": repr(encoder.logit_scale)}
        store.describe({**encoder.identity.fields(), **about})
        # Loading may have fetched something newer: the files are those that are there now.
        source = weights_source(self.model_name)
        if key := self._key(source):
            store.describe({WEIGHTS_KEY: key} | ({WEIGHTS_SOURCE: source} if source else {}))
        return EncoderFacts(encoder.fingerprint, encoder.logit_scale)

    def _key(self, source: str | None) -> str | None:
        return weights_key(
            self.model_name, precision=self.precision, resize=self.resize, source=source
        )

    def check(self, dataset: str, *, root: Location | None = None, images: object = None) -> None:
        """Raise for an encoder that cannot be had, before any image is read.

        Args:
            dataset: as asked for; features:NAME has an encoder already, and takes no other.
            root: a store in which the encoder may be known; then it can be had.
            images: the folder given with the dataset.

        Raises:
            UnknownNameError, EncoderError: as `parse_model_name` and `check_available`.
            DatasetError: for features:NAME, if a model, a precision or anything else was chosen.
            DeviceError: this machine has no such device.
        """
        check_imported_alone(
            dataset,
            model=self.model,
            images=images,
            precision=self.precision != "fp32",
            resize=self.resize,
            views=self.views,
        )
        if dataset.startswith(IMPORTED):
            return
        if self.device != "auto":
            choose_device(self.device)
        if root is not None and self.known(root):
            return
        name = self.model_name
        # Importing takes seconds, in which the hub has time to answer.
        probe = Probe.of_hub() if ":" in name and not name.startswith(LOCAL_DIR) else None
        parsed = parse_model_name(name)
        if parsed.where in {"hub", "tag"}:
            from clip_adapter.encoders import check_available  # noqa: PLC0415  # imports torch

            check_available(parsed, probe=probe)

    def with_views(self, methods: Iterable[Method]) -> "Encoding":
        """A copy with as many augmented views as the most demanding method trains on."""
        return replace(self, views=max(n_views(method) for method in methods))

    def refuse_other(self, fingerprint: str) -> None:
        """Raise if the encoder is not the one with this fingerprint.

        Raises:
            EncoderError: the model changed since.
        """
        if self.encoder.fingerprint != fingerprint:
            raise EncoderError(
                f"{self.model_name} is now encoder {self.encoder.fingerprint[:12]}, the images were "
                f"encoded by {fingerprint[:12]}: extract them again"
            )


def _description(store: FeatureStore) -> dict[str, list[str]]:
    """What is recorded of an encoder; empty where that is damaged or incomplete.

    Whoever loads the encoder then describes it again.
    """
    try:
        described = store.descriptions()
    except FeatureCacheError:
        return {}
    return described if described.keys() >= {"model", "logit_scale"} else {}


def n_views(method: Method) -> int:
    """Number of augmented views a method trains on; 0 for one that takes the images themselves."""
    wanted: int = getattr(method, "views", 0)
    return wanted
