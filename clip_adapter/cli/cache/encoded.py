"""Which encoder's features of a dataset a person means."""

from dataclasses import dataclass

from clip_adapter.cli.cache.indexed import LatestIndex
from clip_adapter.datasets import DatasetError
from clip_adapter.errors import UnknownNameError
from clip_adapter.printable import printable
from feature_cache import FeatureStore, Location, stores


class EncoderChoiceError(DatasetError):
    """No encoder, or more than one, has what was asked for."""


@dataclass(frozen=True)
class KnownEncoder:
    """An encoder with features at rest, and what is recorded of it."""

    store: FeatureStore
    known: dict[str, list[str]]

    @property
    def models(self) -> list[str]:
        """Under which names it encoded."""
        return self.known.get("model", [])

    def __str__(self) -> str:
        """Fingerprint, names and precision, as a list of encoders shows them."""
        models = ", ".join(map(printable, self.models)) or "never named"
        precision = printable(self.known.get("precision", ["unknown precision"])[0])
        return f"{self.store.encoder[:12]} ({models}, {precision})"


def choose_encoder(
    root: Location, index: LatestIndex, *, model: str | None, prefix: str | None
) -> KnownEncoder:
    """The one encoder that has every image of a dataset, and the name or fingerprint asked for.

    Args:
        root: Of everything at rest.
        index: The dataset.
        model: As the features were extracted with; any if None.
        prefix: First digits of the fingerprint; any if None.

    Raises:
        UnknownNameError: No encoder in the store has that name.
        EncoderChoiceError: None has all images, or several have.
    """
    every = [KnownEncoder(store, store.descriptions()) for store in stores(root)]
    if model is not None and not any(model in each.models for each in every):
        names = sorted({name for each in every for name in each.models})
        raise UnknownNameError("model of this store", model, names)
    fitting = [
        each
        for each in every
        if (model is None or model in each.models)
        and each.store.encoder.startswith(prefix or "")
        and not each.store.missing_images(index.image_sha256)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        listed = "; ".join(map(str, fitting))
        raise EncoderChoiceError(
            f"{len(fitting)} encoders have the features of {index.name!r}: {listed}; choose one "
            "with --encoder and the first digits"
        )
    raise EncoderChoiceError(
        f"no such encoder has all {len(index.image_sha256):,} images of {index.name!r}: "
        "`clip-adapter extract` encodes them, `clip-adapter cache stats` lists the encoders"
    )
