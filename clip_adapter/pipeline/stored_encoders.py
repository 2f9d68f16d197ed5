"""The encoders with stored features of images, and which of them a question is about."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clip_adapter.errors import ParameterError, UnknownNameError
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.runs import RequestRecord, RequestStore
from feature_cache import FeatureStore, Location, NotStoredError, list_file_entries, stores

_LEAST_DIGITS = 8
"""Fewest digits by which an encoder may be named."""


@dataclass(frozen=True, kw_only=True)
class StoredEncoder:
    """An encoder with stored features of images.

    Attributes:
        store: its features.
        names: names by which it was loaded or imported, the one of the last request first.
        precision: numeric format of its forward pass.
        is_imported: whether its features were made elsewhere, so that nothing can be encoded.
        requested: parameters of the last request that it answered; empty if none is recorded.
    """

    store: FeatureStore
    names: tuple[str, ...]
    precision: str
    is_imported: bool = False
    requested: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """Name of the model, else the first digits of the fingerprint."""
        return self.names[0] if self.names else self.store.encoder[:_LEAST_DIGITS]

    @property
    def label(self) -> str:
        """Name of the model with the first digits of the fingerprint, which `named` takes."""
        return f"{self.model} ({self.store.encoder[:_LEAST_DIGITS]})"

    def is_named(self, name: str) -> bool:
        """Whether the name is one of the model's, or the beginning of the fingerprint."""
        is_digits = len(name) >= _LEAST_DIGITS and self.store.encoder.startswith(name)
        return name in self.names or is_digits

    def encoding(self, device: str) -> Encoding:
        """The encoder as it was requested last; it is not loaded.

        Args:
            device: torch device that encodes, or "auto".
        """
        precision: Any = self.precision
        return Encoding(
            model=self.model,
            device=device,
            precision=precision,
            resize=self.requested.get("resize"),
            preprocessing=self.requested.get("preprocessing"),
        )


@dataclass(frozen=True)
class ChosenEncoder:
    """The encoder that a question is about.

    Attributes:
        encoder: the encoder.
        note: why it is this one of several; empty if there is no other, or it was named.
    """

    encoder: StoredEncoder
    note: str = ""


def choose_encoder(
    root: Location,
    *,
    datasets: Sequence[str],
    images: Sequence[bytes],
    model: str | None = None,
) -> ChosenEncoder:
    """The encoder that is named, else the one of the last request about one of the datasets.

    Where no request is recorded, as in stores of earlier versions or for imported features, it is the
    only one with a feature of one of the images.

    Args:
        root: folder or URL of the store.
        datasets: names of datasets in the store.
        images: digests of their images.
        model: name of the model, or at least eight digits of the encoder's fingerprint.

    Raises:
        UnknownNameError: no encoder of that name has stored features of images.
        ParameterError: several encoders remain, and no request tells which.
        NotStoredError: no encoder has a feature of one of the images.
        CorruptFileError, NewerFormatError, MisplacedFileError, WrongSchemaError: a file that has to be
            read is damaged or cannot be understood.
    """
    asked = _requests(root, datasets)
    known = _stored_encoders(root, asked)
    left = [each for each in known if model is None or each.is_named(model)]
    if model is not None and not left:
        names = {name for each in known for name in each.names}
        raise UnknownNameError("model", model, sorted(names))
    by_time = {record.encoder: place for place, record in enumerate(asked)}
    requested = [each for each in left if each.store.encoder in by_time]
    if requested:
        last = max(requested, key=lambda each: by_time[each.store.encoder])
        return ChosenEncoder(last, _note(last, others=requested, model=model))
    return ChosenEncoder(_only(left, datasets=datasets, images=images, model=model))


def _requests(root: Location, datasets: Sequence[str]) -> list[RequestRecord]:
    """The requests about some datasets; those about one dataset in the order of their numbers."""
    histories = [RequestStore(root).history(name) for name in datasets]
    # Only between datasets does the clock decide: their numbers cannot be compared.
    return [
        record
        for history in sorted((h for h in histories if h), key=lambda h: h[-1].asked_at)
        for record in history
    ]


def _stored_encoders(root: Location, asked: Sequence[RequestRecord]) -> list[StoredEncoder]:
    """The encoders of a store that have files of image features."""
    last = {record.encoder: record for record in asked}
    return [
        _stored_encoder(store, last.get(store.encoder))
        for store in stores(root)
        if list_file_entries(store.folder / "image")
    ]


def _stored_encoder(store: FeatureStore, last: RequestRecord | None) -> StoredEncoder:
    described = store.descriptions()
    requested = json.loads(last.parameters) if last else {}
    named = [last.model] if last and last.model else []
    recorded = [*described.get("model", []), *described.get("label", [])]
    return StoredEncoder(
        store=store,
        names=tuple(dict.fromkeys([*named, *recorded])),
        precision=described.get("precision", ["fp32"])[0],
        is_imported=described.get("origin") == ["imported"],
        requested=requested,
    )


def _note(chosen: StoredEncoder, *, others: Sequence[StoredEncoder], model: str | None) -> str:
    rest = [each.label for each in others if each is not chosen]
    if not rest:
        return ""
    fewer = "of that name " if model else ""
    return (
        f"{chosen.label} is the encoder {fewer}that was requested last; there are also features of "
        f"{', '.join(rest)}: choose with --model NAME or its digits"
    )


def _only(
    encoders: Sequence[StoredEncoder],
    *,
    datasets: Sequence[str],
    images: Sequence[bytes],
    model: str | None,
) -> StoredEncoder:
    """The only encoder that has a feature of one of the images."""
    n_images = len(set(images))
    having = [each for each in encoders if len(each.store.missing_images(images)) < n_images]
    if len(having) == 1:
        return having[0]
    which = f"the images of {', '.join(datasets)}"
    if not having:
        what = f"of {model} " if model else ""
        raise NotStoredError(
            f"no features {what}are stored for {which}: `clip-adapter extract` encodes them"
        )
    raise ParameterError(
        f"{which} have features of {len(having)} encoders, and no request tells which was used last: "
        f"choose one with --model, by its name or its digits: "
        f"{', '.join(each.label for each in having)}"
    )
