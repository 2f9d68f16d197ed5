"""Imported datasets found again in a store."""

import difflib
import json
from dataclasses import dataclass

from feature_cache.exchange.errors import IncompleteImportError, UnknownImportError
from feature_cache.features import FeatureStore, stores
from feature_cache.indexes import IndexStore
from feature_cache.paths import Location


@dataclass(frozen=True, kw_only=True)
class ImportedDataset:
    """A dataset whose features were made elsewhere.

    Attributes:
        root: Of everything at rest.
        name: Of the dataset.
        index_fingerprint: Of its only index.
        class_names: In the order of the labels.
        templates: Prompts with one `{}`; "{}" where text features came without a prompt.
        encoder: The fingerprint under which its features are stored.
        label: What its user calls that encoder.
        precision: Of the features, "float32" or "float16".
        logit_scale: What multiplies the cosines.
        n_images: Distinct images.
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

    def check_complete(self) -> None:
        """Look for the feature of every image and prompt.

        Raises:
            IncompleteImportError: Some are not there; says how to bring them back.
        """
        store = FeatureStore(self.root, self.encoder)
        table = IndexStore(self.root, self.name).read(self.index_fingerprint)
        missing = store.missing_images(table.column("image_sha256").to_pylist())
        prompts = [each.replace("{}", name) for name in self.class_names for each in self.templates]
        n_missing = len(missing) + len(store.missing_prompts(prompts))
        if n_missing:
            raise IncompleteImportError(
                f"{n_missing} of the {self.n_images + len(prompts)} features imported as "
                f"{self.name!r} are not in the store: `clip-adapter cache import PATH --name "
                f"{self.name}` with the file they came from brings them back"
            )


def imported_names(root: Location) -> list[str]:
    """The names of the datasets that were imported into a store, sorted."""
    return sorted({name for _, known in _imported_stores(root) for name in known["dataset"]})


def find_imported(root: Location, name: str) -> ImportedDataset:
    """The imported dataset of that name.

    Raises:
        UnknownImportError: None was imported under it; suggests the nearest names.
        IncompleteImportError: Its index is not in the store.
    """
    found = _imported_stores(root)
    names = {each for _, known in found for each in known["dataset"]}
    # Only a name that was found becomes part of a path.
    if name not in names:
        raise UnknownImportError(_unknown(name, sorted(names)))
    indexes = IndexStore(root, name).fingerprints()
    for store, known in found:
        for fingerprint in sorted(indexes.intersection(known["index"])):
            return _described(store, known, name=name, index_fingerprint=fingerprint)
    raise IncompleteImportError(
        f"the index of the imported dataset {name!r} is not in the store: `clip-adapter cache "
        f"import PATH --name {name}` with the file it came from brings it back"
    )


def _imported_stores(root: Location) -> list[tuple[FeatureStore, dict[str, list[str]]]]:
    described = [(store, store.descriptions()) for store in stores(root)]
    return [each for each in described if each[1].get("origin") == ["imported"]]


def _described(
    store: FeatureStore, known: dict[str, list[str]], *, name: str, index_fingerprint: str
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
