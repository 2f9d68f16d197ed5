"""Which images of a dataset an encoder would find encoded, and what sets other encoders apart."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clip_adapter.cli.cache.damage import Damage
from feature_cache import FeatureStore, Location, stores

if TYPE_CHECKING:  # torch takes seconds to import
    from clip_adapter.encoders import EncoderIdentity


@dataclass(frozen=True)
class Reuse:
    """What an extraction would find.

    Attributes:
        n_images: Distinct images of the dataset.
        n_reused: Those with every view in the store.
        n_without_any: Those with no view in the store.
        n_views_to_encode: Views to be encoded, of all images.
        encoder_is_new: Whether the encoder has no image in the store, of whatever dataset.
    """

    n_images: int
    n_reused: int
    n_without_any: int
    n_views_to_encode: int
    encoder_is_new: bool

    @property
    def n_to_encode(self) -> int:
        """Images of which at least one view is to be encoded."""
        return self.n_images - self.n_reused


def reuse_of(store: FeatureStore, image_sha256: Sequence[bytes], *, views: Sequence[int]) -> Reuse:
    """Look up the views of images; each image once."""
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
    """The other encoders that have some of the images, with what they differ in; nearest first."""
    rows = []
    for each in stores(root):
        if each.encoder == identity.fingerprint:
            continue
        damage = Damage(root)
        store = FeatureStore(root, each.encoder, on_damage=damage.note)
        held = len(image_sha256) - len(store.missing_images(image_sha256))
        if held:
            known = store.descriptions()
            models = known.pop("model", [])
            for name in (
                "logit_scale",
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
