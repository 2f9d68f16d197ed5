"""`clip-adapter cache why`: whether features will be reused, and which field prevents it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clip_adapter.cli.cache.damage import Damage
from clip_adapter.cli.cache.indexed import LatestIndex, existing_root, latest_index, sizes_of_files
from clip_adapter.cli.options import (
    AugmentationOption,
    Json,
    Precision,
    Preprocessing,
    Resize,
    Root,
    Views,
)
from clip_adapter.cli.summaries import print_json, watch
from clip_adapter.datasets import IMPORTED
from clip_adapter.errors import DatasetError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.images import augmented_views
from clip_adapter.pipeline.default_model import choose_model
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import DatasetRequest
from clip_adapter.terminal import plain_console
from feature_cache import FeatureStore, Location, stored_folders, stores
from feature_cache.exchange import imported_names

if TYPE_CHECKING:
    from clip_adapter.encoders import EncoderIdentity


@dataclass(frozen=True)
class Reuse:
    """Counts of what an extraction would reuse and encode.

    Attributes:
        n_images: number of distinct images of the dataset.
        n_reused: number of images with every view in the store.
        n_without_any: number of images with no view in the store.
        n_views_to_encode: number of views to encode.
        encoder_is_new: whether the store holds no image of any dataset for this encoder.
    """

    n_images: int
    n_reused: int
    n_without_any: int
    n_views_to_encode: int
    encoder_is_new: bool

    @property
    def n_to_encode(self) -> int:
        """Number of images with at least one view to encode."""
        return self.n_images - self.n_reused


def reuse_of(store: FeatureStore, image_sha256: Sequence[bytes], *, views: Sequence[int]) -> Reuse:
    """Look up the views of distinct images in the store."""
    missing = store.missing_views(image_sha256, views=views)
    without_any = sum(len(lacking) == len(views) for lacking in missing.values())
    return Reuse(
        n_images=len(image_sha256),
        n_reused=len(image_sha256) - len(missing),
        n_without_any=without_any,
        n_views_to_encode=sum(map(len, missing.values())),
        encoder_is_new=without_any == len(image_sha256) and not store.statistics().n_images,
    )


def others_with_images(
    root: Location,
    identity: "EncoderIdentity",
    *,
    image_sha256: Sequence[bytes],
    looked_at: Callable[[FeatureStore], None],
) -> list[dict[str, Any]]:
    """The other encoders that have some of the images, with the differing fields; nearest first."""
    rows = []
    for each in stores(root):
        if each.encoder == identity.fingerprint:
            continue
        damage = Damage(root)
        store = FeatureStore(root, each.encoder, on_corruption=damage.note)
        held = len(image_sha256) - len(store.missing_images(image_sha256))
        if held:
            known = store.descriptions()
            models = known.pop("model", [])
            for name in (
                "logit_scale",
                "logit_bias",
                "weights_key",
                "weights_source",
            ):  # they follow from the weights
                known.pop(name, None)
            fields = {name: values[0] for name, values in known.items()}
            rows.append(
                {
                    "encoder": store.encoder,
                    "models": models,
                    "images": held,
                    "damaged_files": len(damage.problems),
                    "differences": [asdict(one) for one in identity.differences(fields)],
                }
            )
        looked_at(store)
    return sorted(rows, key=lambda row: (len(row["differences"]), -row["images"]))


MOST_FIELDS = 10
"""Number of differing fields to show; another architecture differs in nearly all of them."""
MOST_CHARACTERS = 16  # so that a field keeps half of 80 columns


def reasons_for(reuse: Reuse, damage: Damage) -> list[str]:
    """The reasons why images have to be encoded; none if all are stored."""
    partly = reuse.n_to_encode - reuse.n_without_any
    n_damaged = len(damage.problems)
    reasons = []
    if reuse.encoder_is_new and not n_damaged:
        reasons.append("the store holds no image features of this very encoder")
    elif reuse.n_without_any:
        reasons.append(f"{reuse.n_without_any:,} images are not in the store")
    if partly:
        reasons.append(f"{partly:,} images are there, but not in all the views asked for")
    if n_damaged:
        files = "1 file is" if n_damaged == 1 else f"{n_damaged:,} files are"
        reasons.append(f"{files} damaged, and what they held counts as missing")
    return reasons


def show_explanation(console: Console, explanation: dict[str, Any], damage: Damage) -> None:
    """Print what was compared, the reasons, the differences of other encoders, and the answer."""
    _say(console, _heading(explanation))
    for reason in explanation["reasons"]:
        _say(console, f"  - {reason}")
    damage.show(console)
    for other in explanation["others"]:
        _show_other(console, other, total=explanation["images"])
    _say(console, _answer(explanation), style="bold")


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, soft_wrap=True, style=style)


def _heading(explanation: dict[str, Any]) -> str:
    fields, n_augmented = explanation["fields"], len(explanation["views"]) - 1
    views = f", each with {n_augmented:,} augmented views" if n_augmented else ""
    day = explanation["indexed"][:16].replace("T", " ")
    return (
        f"dataset  {escape_control_characters(explanation['dataset'])}, as indexed {day} UTC\n"
        f"images   {explanation['images']:,}{views}\n"
        f"encoder  {explanation['encoder'][:12]}: {escape_control_characters(explanation['model'])}, "
        f"{escape_control_characters(fields['precision'])}"
        + "".join(f"\n         {escape_control_characters(note)}" for note in explanation["notes"])
    )


def _show_other(console: Console, other: dict[str, Any], *, total: int) -> None:
    models = (
        ", ".join(map(escape_control_characters, other["models"])) or "a model that was never named"
    )
    damaged = f" ({other['damaged_files']} damaged files not counted)" * bool(
        other["damaged_files"]
    )
    _say(
        console,
        f"\n{other['encoder'][:12]}  {models}\n"
        f"  holds {other['images']:,} of the {total:,} images{damaged}, "
        "but it is another encoder:",
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("  field", "here", "there"):
        table.add_column(name, overflow="fold")
    # An architecture has many fields: those that a user can choose come before.
    differences = sorted(
        other["differences"], key=lambda each: each["field"].startswith("model_config")
    )
    for each in differences[:MOST_FIELDS]:
        table.add_row(
            *(
                Text(text)
                for text in (
                    f"  {escape_control_characters(each['field'])}",
                    _shown(each["ours"]),
                    _shown(each["theirs"]),
                )
            )
        )
    console.print(table)
    more = len(other["differences"]) - MOST_FIELDS
    if more > 0:
        _say(console, f"  and {more} more, which --json lists")


def _shown(value: str | None) -> str:
    if value is None:
        return "(none)"
    text = escape_control_characters(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."


def _answer(explanation: dict[str, Any]) -> str:
    reused, encoded = explanation["reused"], explanation["to_encode"]
    views = explanation["views_to_encode"]
    in_views = f" ({views:,} views)" if views != encoded else ""
    return (
        f"\n{reused:,} of {explanation['images']:,} images will be reused, "
        f"{encoded:,} will be encoded{in_views}"
    )


IndexedDataset = Annotated[
    str,
    typer.Option(
        "--dataset", help="As `extract` takes it, or as `clip-adapter datasets` lists it."
    ),
]


Model = Annotated[
    str | None,
    typer.Option(
        "--model", help=DatasetRequest.model_fields["model"].description, show_default=False
    ),
]


def why(
    dataset: IndexedDataset,
    model: Model = None,
    precision: Precision = "fp32",
    resize: Resize = None,
    preprocessing: Preprocessing = None,
    views: Views = 0,
    augmentation: AugmentationOption = "tip-adapter",
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show how many images of a dataset will be reused, and field by field why not the others.

    The dataset is taken from its last index; its folder need not exist.

    The model is loaded, since its weights decide and not its name.

    Nothing is written.
    """
    place = existing_root(root)
    index = latest_index(place, dataset)
    numbers = [0, *augmented_views(views, augmentation)]
    model = model or _default_model(place, index.name)
    asked = Encoding(model=model, precision=precision, resize=resize, preprocessing=preprocessing)
    with plain_console(stderr=True, quiet=as_json).status("loading the model"):
        encoder = asked.encoder
    identity = encoder.identity
    damage = Damage(place)
    ours = FeatureStore(place, identity.fingerprint, on_corruption=damage.note)
    folders = [each for each in stored_folders(place) if each.kind == "image-features"]
    sizes = {each.owner: sum(sizes_of_files(each)) / 1e6 for each in folders}
    title, total = "reading features", sum(sizes.values())
    with watch(title, total=total, unit="MB", quiet=as_json) as advance:
        reuse = reuse_of(ours, index.image_sha256, views=numbers)
        advance(sizes.get(ours.encoder, 0))
        others = others_with_images(
            place,
            identity,
            image_sha256=index.image_sha256,
            looked_at=lambda store: advance(sizes.get(store.encoder, 0)),
        )
    request = {"root": str(place), "model": model, "views": numbers, "fields": identity.fields()}
    request["notes"] = list(encoder.notes)
    explanation = request | _explain(index, ours, reuse, damage=damage) | {"others": others}
    if as_json:
        print_json(explanation)
    else:
        show_explanation(plain_console(), explanation, damage)
    if damage.problems:
        raise typer.Exit(1)


def _default_model(root: Location, dataset: str) -> str:
    if dataset in imported_names(root):
        raise DatasetError(
            f"{IMPORTED}{dataset} was encoded elsewhere, so that no model is its default: name the "
            "one to compare it with, as --model glyphs"
        )
    return choose_model(None, dataset=dataset, root=root, reporter=Reporter())


def _explain(
    index: LatestIndex, store: FeatureStore, reuse: Reuse, *, damage: Damage
) -> dict[str, Any]:
    return {
        "dataset": index.name,
        "index": index.fingerprint,
        "indexed": index.made.isoformat(timespec="seconds"),
        "encoder": store.encoder,
        "images": reuse.n_images,
        "reused": reuse.n_reused,
        "to_encode": reuse.n_to_encode,
        "views_to_encode": reuse.n_views_to_encode,
        "reasons": reasons_for(reuse, damage),
        "damaged": damage.rows(),
    }
