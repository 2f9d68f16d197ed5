"""`clip-adapter cache export`: a dataset's features for use elsewhere."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from clip_adapter.cli.cache.indexed import LatestIndex, existing_root, latest_index
from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json, watch
from clip_adapter.datasets import DatasetError
from clip_adapter.errors import UnknownNameError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.request_log import last_prompts
from clip_adapter.terminal import plain_console
from feature_cache import FeatureStore, IndexStore, Location, stores
from feature_cache.exchange import (
    Format,
    LabelledFeatures,
    format_for,
    gather_features,
    write_features,
)


@dataclass(frozen=True)
class KnownEncoder:
    """An encoder with stored features.

    Attributes:
        store: stored features.
        known: recorded values of each field of its description.
    """

    store: FeatureStore
    known: dict[str, list[str]]

    @property
    def models(self) -> list[str]:
        """The names of the encoder in the requests that used it."""
        return self.known.get("model", [])

    def number(self, field: str) -> float | None:
        """The value of a numeric field; None if it is not recorded."""
        return float(self.known[field][0]) if field in self.known else None

    def __str__(self) -> str:
        """Fingerprint, names and precision, for a list of encoders."""
        models = ", ".join(map(escape_control_characters, self.models)) or "never named"
        precision = escape_control_characters(self.known.get("precision", ["unknown precision"])[0])
        return f"{self.store.encoder[:12]} ({models}, {precision})"


def choose_encoder(
    root: Location, index: LatestIndex, *, model: str | None, prefix: str | None
) -> KnownEncoder:
    """Find the encoder that has every image of a dataset, and the given name or fingerprint.

    Args:
        root: root of the store.
        index: the dataset.
        model: name with which the features were extracted; any if None.
        prefix: first digits of the fingerprint; any if None.

    Raises:
        UnknownNameError: no encoder in the store has that name.
        DatasetError: no encoder has all images, or several have.
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
        raise DatasetError(
            f"{len(fitting)} encoders have the features of {index.name!r}: {listed}; choose one "
            "with --encoder and the first digits"
        )
    raise DatasetError(
        f"no such encoder has all {len(index.image_sha256):,} images of {index.name!r}: "
        "`clip-adapter extract` encodes them, `clip-adapter cache stats` lists the encoders"
    )


Dataset = Annotated[
    str,
    typer.Option(
        "--dataset", help="As `extract` takes it, or as `clip-adapter datasets` lists it."
    ),
]
To = Annotated[
    Path,
    typer.Option(
        "--to", help="A .safetensors, .npz or .npy file; without suffix clip-retrieval's folder."
    ),
]
ByModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Model as `cache stats` lists it; needed if several encoders have the dataset.",
    ),
]
ByFingerprint = Annotated[
    str | None,
    typer.Option("--encoder", help="First digits of the encoder's fingerprint, instead."),
]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Format, whatever the suffix.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
KeepPrecision = Annotated[
    bool,
    typer.Option(
        "--keep-precision",
        help="clip-retrieval: keep every bit, instead of norm 1 in half precision.",
    ),
]


def export(
    dataset: Dataset,
    to: To,
    model: ByModel = None,
    encoder: ByFingerprint = None,
    form: FormatOption = None,
    overwrite: Overwrite = False,
    keep_precision: KeepPrecision = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Write a dataset's features, labels, splits, digests and class texts to a file.

    The dataset is taken as it was last indexed. Nothing in the store changes.
    """
    form = form or format_for(to)
    if keep_precision and form != "clip-retrieval":
        raise typer.BadParameter(f"--keep-precision is for clip-retrieval; {form} keeps every bit")
    place = existing_root(root)
    index = latest_index(place, dataset)
    chosen = choose_encoder(place, index, model=model, prefix=encoder)
    table = IndexStore(place, index.name).read(index.fingerprint)
    text_features = _texts(chosen, place, index, _class_names(table))
    title, total = f"exporting {index.name}", table.num_rows
    with watch(title, total=total, unit="features", quiet=as_json) as advance:
        features = gather_features(
            chosen.store,
            table,
            text_features=text_features,
            logit_scale=chosen.number("logit_scale"),
            logit_bias=chosen.number("logit_bias"),
            with_views=form == "safetensors",
            progress=advance,
        )
    write_features(to, features, form=form, keep_precision=keep_precision, overwrite=overwrite)
    summary = {"path": str(to), "format": form, "models": chosen.models, **_counts(features)}
    if as_json:
        print_json(summary | {"encoder": chosen.store.encoder, "dataset": index.name})
    else:
        _show(plain_console(), summary)


def _class_names(table: Any) -> list[str]:
    labels, names = (table.column(each).to_pylist() for each in ("label", "class_name"))
    return [name for _, name in sorted(set(zip(labels, names, strict=True)))]


def _texts(
    chosen: KnownEncoder, root: Location, index: LatestIndex, class_names: list[str]
) -> Any | None:
    """The text features `[c, d]` of the prompts that were used last, if they are stored."""
    recorded = chosen.known.get("templates")
    if recorded:  # of imported features
        by_class = [
            [each.replace("{}", name) for each in json.loads(recorded[0])] for name in class_names
        ]
    else:
        encoder = chosen.store.encoder
        by_class = last_prompts(
            root, index.name, class_names, index=index.fingerprint, encoder=encoder
        )
    prompts = [prompt for each in by_class for prompt in each]
    if chosen.store.missing_prompts(prompts):
        return None
    features = chosen.store.read_prompts(prompts)
    if len(prompts) == len(by_class):  # as every class has at least one
        return features
    from clip_adapter.methods import class_prototypes  # noqa: PLC0415  # imports torch

    ends = np.cumsum([len(each) for each in by_class])[:-1]
    ensembles = np.split(features.astype(np.float32), ends)
    return np.concatenate([class_prototypes(each[np.newaxis]) for each in ensembles])


def _counts(features: LabelledFeatures) -> dict[str, Any]:
    return {
        "rows": len(features),
        "classes": len(features.class_names),
        "width": features.dim,
        "precision": features.features.dtype.name,
        "views": features.n_views,
        "text_features": features.text_features is not None,
        "logit_scale": features.logit_scale,
        "logit_bias": features.logit_bias,
    }


def _show(console: Console, summary: dict[str, Any]) -> None:
    lossy = {
        "npy": "; .npy has no room for texts, logit scale and bias",
        "clip-retrieval": "; clip-retrieval's folder has no room for the logit scale and bias",
    }.get(summary["format"], "" if summary["text_features"] else "; the store has no texts of it")
    models = (
        ", ".join(map(escape_control_characters, summary["models"]))
        or "a model that was never named"
    )
    views = f" in {summary['views']:,} views" if summary["views"] > 1 else ""
    console.print(
        f"{summary['rows']:,} rows{views} of {summary['classes']:,} classes, width "
        f"{summary['width']:,}, {summary['precision']}, encoded with {models}, are in "
        f"{escape_control_characters(summary['path'])} ({summary['format']}){lossy}",
        soft_wrap=True,
    )
