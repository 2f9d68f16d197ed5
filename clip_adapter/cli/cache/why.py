"""`clip-adapter cache why`: will features be reused, and if not, which field stands against it?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from clip_adapter.cli.cache.damage import Damage
from clip_adapter.cli.cache.explanation import reasons_for, show_explanation
from clip_adapter.cli.cache.indexed import LatestIndex, latest_index
from clip_adapter.cli.cache.places import existing_root, sizes_of_files
from clip_adapter.cli.cache.reuse import Reuse, others_with_images, reuse_of
from clip_adapter.cli.options import AugmentationOption, Json, Model, Precision, Resize, Root, Views
from clip_adapter.cli.summaries import print_json
from clip_adapter.cli.watching import watch
from clip_adapter.images import augmented_views
from clip_adapter.pipeline.encoding import Encoding
from feature_cache import FeatureStore, stored_folders

if TYPE_CHECKING:
    from clip_adapter.encoders import EncoderIdentity

IndexedDataset = Annotated[
    str,
    typer.Option(
        "--dataset", help="As `extract` takes it, or as `clip-adapter datasets` lists it."
    ),
]


def why(
    dataset: IndexedDataset,
    model: Model = "glyphs",
    precision: Precision = "fp32",
    resize: Resize = None,
    views: Views = 0,
    augmentation: AugmentationOption = "tip-adapter",
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Say how many images of a dataset will be reused, and field by field why not the others.

    The dataset is taken as it was last indexed; its folder need not be there.

    The model is loaded, since its weights decide and not its name.

    Nothing is written.
    """
    place = existing_root(root)
    index = latest_index(place, dataset)
    numbers = [0, *augmented_views(views, augmentation)]
    identity = _identify(model, precision=precision, resize=resize, quiet=as_json)
    damage = Damage(place)
    ours = FeatureStore(place, identity.fingerprint, on_damage=damage.note)
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
    asked = {"root": str(place), "model": model, "views": numbers, "fields": identity.fields()}
    explanation = asked | _explain(index, ours, reuse, damage=damage) | {"others": others}
    if as_json:
        print_json(explanation)
    else:
        show_explanation(Console(highlight=False), explanation, damage)
    if damage.problems:
        raise typer.Exit(1)


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


def _identify(model: str, *, precision: Any, resize: Any, quiet: bool) -> "EncoderIdentity":
    console = Console(stderr=True, quiet=quiet)
    with console.status("loading the model"):
        return Encoding(model=model, precision=precision, resize=resize).encoder.identity
