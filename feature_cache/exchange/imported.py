"""Imported datasets of a store, found by name."""

import difflib
import json
from dataclasses import dataclass, replace

from feature_cache.errors import NotStoredError
from feature_cache.features import FeatureStore, stores
from feature_cache.indexes import IndexStore
from feature_cache.paths import Location
from feature_cache.reading import OnCorruption, raise_on_corruption


@dataclass(frozen=True, kw_only=True)
class ImportedDataset:
    """A dataset whose features were made elsewhere.

    Attributes:
        root: root of the store.
        name: name of the dataset.
        index_fingerprint: fingerprint of its only index.
        class_names: names in the order of the labels.
        templates: prompts with one `{}`; "{}" where text features came without a prompt.
        encoder: fingerprint under which the features are stored.
        label: name that the user gave the encoder.
        precision: element type of the features, "float32" or "float16".
        logit_scale: factor of the cosines.
        n_images: number of distinct images.
        logit_bias: constant that a sigmoid model adds to every scaled cosine; None without.
    """

    root: Location
    name: str
    index_fingerprint: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    encoder: str
    label: str
    precision: str
    logit_scale: float
    n_images: int
    logit_bias: float | None = None

    def check_complete(self) -> None:
        """Check that the feature of every image and prompt is stored.

        Raises:
            NotStoredError: some are missing.
        """
        store = FeatureStore(self.root, self.encoder)
        table = IndexStore(self.root, self.name).read(self.index_fingerprint)
        missing = store.missing_images(table.column("image_sha256").to_pylist())
        prompts = [each.replace("{}", name) for name in self.class_names for each in self.templates]
        n_missing = len(missing) + len(store.missing_prompts(prompts))
        if n_missing:
            raise NotStoredError(
                f"{n_missing} of the {self.n_images + len(prompts)} features imported as "
                f"{self.name!r} are not in the store: `clip-adapter cache import PATH --name "
                f"{self.name}` with the file they came from brings them back"
            )


def imported_names(
    root: Location, *, on_corruption: OnCorruption = raise_on_corruption
) -> list[str]:
    """The names of the datasets that were imported into a store, sorted.

    Args:
        root: folder or URL of the store.
        on_corruption: handler of a description of an encoder that cannot be used.
    """
    found = _imported_stores(root, on_corruption=on_corruption)
    return sorted({name for _, known in found for name in known["dataset"]})


def find_imported(root: Location, name: str) -> ImportedDataset:
    """Find an imported dataset.

    Raises:
        NotStoredError: nothing was imported under the name, or its index is missing.
    """
    found = _imported_stores(root)
    names = {each for _, known in found for each in known["dataset"]}
    # Only a name that was found becomes part of a path.
    if name not in names:
        raise NotStoredError(_unknown(name, sorted(names)))
    indexes = IndexStore(root, name).fingerprints()
    for store, known in found:
        for fingerprint in sorted(indexes.intersection(known["index"])):
            return _dataset(store, known, name, fingerprint)
    raise NotStoredError(
        f"the index of the imported dataset {name!r} is not in the store: `clip-adapter cache "
        f"import PATH --name {name}` with the file it came from brings it back"
    )


def _imported_stores(
    root: Location, *, on_corruption: OnCorruption = raise_on_corruption
) -> list[tuple[FeatureStore, dict[str, list[str]]]]:
    every = (replace(store, on_corruption=on_corruption) for store in stores(root))
    described = [(store, store.descriptions()) for store in every]
    return [each for each in described if each[1].get("origin") == ["imported"]]


def _dataset(
    store: FeatureStore, known: dict[str, list[str]], name: str, index_fingerprint: str
) -> ImportedDataset:
    table = IndexStore(store.root, name).read(index_fingerprint)
    labels, names = (table.column(each).to_pylist() for each in ("label", "class_name"))
    return ImportedDataset(
        root=store.root,
        name=name,
        index_fingerprint=index_fingerprint,
        class_names=tuple(name for _, name in sorted(set(zip(labels, names, strict=True)))),
        templates=tuple(json.loads(known["templates"][0])),
        encoder=store.encoder,
        label=known["label"][0],
        precision=known["precision"][0],
        logit_scale=float(known["logit_scale"][0]),
        n_images=len(set(table.column("image_sha256").to_pylist())),
        logit_bias=float(known["logit_bias"][0]) if "logit_bias" in known else None,
    )


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, cutoff=0.5)
    if close:
        hint = f"did you mean {' or '.join(map(repr, close))}?"
    else:
        hint = f"this store knows {', '.join(known[:12])}." if known else "nothing was, so far."
    return (
        f"nothing was imported as {name!r:.80}: {hint} `clip-adapter cache import PATH --name NAME` "
        "imports features"
    )
