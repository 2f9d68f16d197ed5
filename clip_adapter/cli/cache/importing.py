"""`clip-adapter cache import`: labelled features that were made elsewhere."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json, watch
from clip_adapter.datasets import check_free_name, split_by_content
from clip_adapter.errors import ParameterError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.settings import Settings, check_writable
from clip_adapter.terminal import plain_console
from feature_cache.exchange import (
    ClassTexts,
    Imported,
    LabelledFeatures,
    check_import_name,
    import_features,
    read_features,
    texts_of_file,
)

_USUAL_TEMPLATE = "a photo of a {}."
_PROMPTS_AT_ONCE = 64


Source = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="A .npz, .npy or safetensors file, or clip-retrieval's folder."
    ),
]
Name = Annotated[
    str, typer.Option("--name", help="What to call the dataset: a-z, 0-9 and single dashes.")
]
Label = Annotated[
    str | None,
    typer.Option("--label", help="What made the features; else the name.", show_default=False),
]
TextModel = Annotated[
    str | None,
    typer.Option(
        "--text-model",
        help="Encode the class names with this model's text tower: the very model that made the "
        "image features. Else the file's text features.",
        show_default=False,
    ),
]
Templates = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        help="A prompt of --text-model with {} for the class; repeatable.",
        show_default="a photo of a {}.",
    ),
]
Arrays = Annotated[
    list[str] | None,
    typer.Option(
        "--array",
        metavar="ROLE=NAME",
        help="What an array of a .npz, or a column of clip-retrieval's metadata, is called, as "
        "features=x or test=test_; ROLE= leaves it unread; repeatable.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="The labels of a .npy: .npy, .txt or .csv.", show_default=False),
]
ClassNames = Annotated[
    Path | None,
    typer.Option(
        "--class-names",
        help="Text file with one class name per line, in the order of the labels.",
        show_default=False,
    ),
]
FromFolder = Annotated[
    bool,
    typer.Option("--class-from-folder", help="clip-retrieval: an image's folder is its class."),
]
TextByClass = Annotated[
    bool, typer.Option("--text-by-class", help="clip-retrieval: text_emb holds class texts.")
]


def import_(
    path: Source,
    name: Name,
    label: Label = None,
    text_model: TextModel = None,
    template: Templates = None,
    array: Arrays = None,
    labels: Labels = None,
    class_names: ClassNames = None,
    class_from_folder: FromFolder = False,
    text_by_class: TextByClass = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Import features that another program made, to train on them as features:NAME.

    Nothing is unpickled. The same content again writes nothing.

    Rows without a split are divided by their content: half train, a fifth validates.
    """
    check_import_name(name)
    check_free_name(name)
    templates = _check_templates(template, text_model=text_model)
    features = read_features(
        path,
        names=_parse_names(array or []),
        labels=labels,
        class_names=_read_class_names(class_names),
        class_from_folder=class_from_folder,
        text_by_class=text_by_class,
    )
    texts = (
        texts_of_file(features)
        if text_model is None
        else _encode_texts(text_model, features, templates, quiet=as_json)
    )
    location = Settings.of(root=root).location
    if isinstance(location, Path):
        check_writable(location)
    splits = features.splits or tuple(map(split_by_content, features.image_sha256))
    total = len(features) * features.n_views
    with watch("importing", total=total, unit="features", quiet=as_json) as advance:
        done = import_features(
            location,
            replace(features, splits=splits),
            name=name,
            label=label or name,
            texts=texts,
            progress=advance,
        )
    summary = {
        "root": str(location),
        "dataset": name,
        **_counts(features, done),
        "splits": dict(Counter(splits)),
        "label": label or name,
        **_origins(features, texts, text_model),
    }
    if as_json:
        print_json(summary)
    else:
        _show(plain_console(), summary)


def _counts(features: LabelledFeatures, done: Imported) -> dict[str, Any]:
    return {
        "encoder": done.encoder,
        "index": done.index_fingerprint,
        "images": done.n_images,
        "rows": len(features),
        "views": features.n_views,
        "classes": len(features.class_names),
        "width": features.dim,
        "imported": done.n_new,
        "prompts_imported": done.n_new_prompts,
    }


def _origins(
    features: LabelledFeatures, texts: ClassTexts, text_model: str | None
) -> dict[str, Any]:
    """Properties of the file, and where the values come from that it can leave open."""
    scale_from = "the file" if features.logit_scale else "CLIP's, since the file says none"
    return {
        "splits_from": "the file" if features.splits else "content",
        "rows_identified_by": "image digests" if features.have_image_digests else "their values",
        "unit_norms": features.have_unit_norms,
        "text_from": text_model or "the file",
        "logit_scale": texts.logit_scale,
        "logit_bias": texts.logit_bias,
        "logit_scale_from": text_model or scale_from,
    }


def _show(console: Console, summary: dict[str, Any]) -> None:
    splits = ", ".join(f"{number:,} {split}" for split, number in sorted(summary["splits"].items()))
    by = "as the file says" if summary["splits_from"] == "the file" else "by content"
    bias = summary["logit_bias"]
    biased = "" if bias is None else f", logit bias {bias:g}"
    norms = "all of norm 1" if summary["unit_norms"] else "not normalised"
    console.print(
        f"{summary['imported']:,} features imported as features:{summary['dataset']}: "
        f"{summary['rows']:,} rows of {summary['classes']:,} classes, width {summary['width']:,}, "
        f"{norms}; {splits} {by}; texts of {escape_control_characters(summary['text_from'])}; logit scale "
        f"{summary['logit_scale']:g} ({escape_control_characters(summary['logit_scale_from'])}){biased}",
        soft_wrap=True,
    )


def _parse_names(texts: list[str]) -> dict[str, str | None]:
    """Names by role, from `ROLE=NAME`; an empty name leaves the role unread.

    >>> _parse_names(["features=x", "val="])
    {'features': 'x', 'val': None}
    """
    names: dict[str, str | None] = {}
    for text in texts:
        role, sign, name = text.partition("=")
        if not (role and sign):
            raise typer.BadParameter(f"{text!r} is not of the form ROLE=NAME, as features=x")
        names[role] = name or None
    return names


def _check_templates(templates: list[str] | None, *, text_model: str | None) -> list[str]:
    """The distinct templates of the prompts to encode; the usual one by default."""
    if templates and text_model is None:
        raise typer.BadParameter("--template is for --text-model, which encodes it: name one")
    for template in templates or []:
        if template.count("{}") != 1:
            raise typer.BadParameter(
                f"--template {template!r}: expected one {{}} where the class name goes"
            )
    return list(dict.fromkeys(templates or [_USUAL_TEMPLATE]))


def _read_class_names(path: Path | None) -> tuple[str, ...] | None:
    """Class names of a UTF-8 file, one a line."""
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(
            f"--class-names {path}: {escape_control_characters(error)}"
        ) from None
    return tuple(text.removesuffix("\n").split("\n"))


def _encode_texts(
    model: str, features: LabelledFeatures, templates: list[str], *, quiet: bool
) -> ClassTexts:
    """Encode every class in every template with the text tower of `model`."""
    from clip_adapter.encoders import load_encoder  # noqa: PLC0415  # imports torch

    prompts = [each.replace("{}", name) for name in features.class_names for each in templates]
    with watch("encoding prompts", total=len(prompts), unit="prompts", quiet=quiet) as advance:
        encoder = load_encoder(model)
        parts = []
        for start in range(0, len(prompts), _PROMPTS_AT_ONCE):
            part = encoder.encode_prompts(prompts[start : start + _PROMPTS_AT_ONCE])
            if part.shape[1] != features.dim:
                raise ParameterError(
                    f"text features of {model!r} are {part.shape[1]} wide, the image features "
                    f"{features.dim}: --text-model must be the very model that made the image "
                    "features"
                )
            parts.append(part)
            advance(len(part))
    return ClassTexts(
        templates=tuple(templates),
        features=np.concatenate(parts),
        made_by=f"model:{encoder.fingerprint}",
        logit_scale=encoder.logit_scale,
        logit_bias=encoder.logit_bias,
    )
