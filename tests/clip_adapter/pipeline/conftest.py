"""Datasets of small photos, encoded in this process or in one that can be killed."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from extractions import ForkServer, Undisturbed
from fork_server import BATCH_SIZE
from steps import encode_dataset, index_dataset
from synthetic_datasets import GOOD, SyntheticDatasets

from clip_adapter.pipeline import feature_writer
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.runs import Champion, PromotionRecord, PromotionStore

Extract = Callable[..., EncodedDataset]
PutPhotos = Callable[..., Path]


# A model is loaded once for all tests of a process; its folder is never changed.
once = cache(Encoding)


@pytest.fixture
def extract(root: Path, tiny_model: str) -> Extract:
    """Index a folder of photos and encode what the store at `root` lacks."""

    def run(
        folder: Path,
        *,
        model: str = tiny_model,
        max_bad_fraction: float = 0.05,
        **encoding: Any,
    ) -> EncodedDataset:
        indexed = index_dataset(
            f"imagefolder:{folder}",
            root=root,
            data=root / "images",
            max_bad_fraction=max_bad_fraction,
        )
        return encode_dataset(indexed, once(model=model, **encoding))

    return run


@pytest.fixture
def encoded(extract: Extract, photos: Path) -> EncodedDataset:
    """The ninety photos, encoded."""
    return extract(photos)


@pytest.fixture(scope="session")
def few_photos(tmp_path_factory: pytest.TempPathFactory, put_photos: PutPhotos) -> Path:
    """A folder of two classes with twelve photos each, and a file that is none."""
    folder = tmp_path_factory.mktemp("few") / "photos"
    for class_name in ("red", "blue"):
        put_photos(folder, class_name, range(12))
    (folder / "red" / "page.jpg").write_bytes(b"<html>not found</html>")
    return folder


@pytest.fixture(scope="session")
def fork_server(
    few_photos: Path, tiny_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForkServer]:
    """Starts extractions of the few photos, as processes that can be killed."""
    started = ForkServer(few_photos, tiny_model, tmp_path_factory.mktemp("event-logs"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def undisturbed(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The result of an extraction of the few photos that is not interrupted."""
    return Undisturbed.of(fork_server, tmp_path_factory.mktemp("undisturbed") / "store")


@pytest.fixture(scope="module")
def extract_in_steps(few_photos: Path, tiny_model: str) -> Extract:
    """Extract the few photos in small batches and files, by a model that is loaded once."""
    from clip_adapter.encoders import load_encoder  # noqa: PLC0415  # imports torch and open_clip

    encoder = cache(partial(load_encoder, batch_size=BATCH_SIZE))

    def run(
        root: Path, *, model: str = tiny_model, files_worth_merging: int = 99
    ) -> EncodedDataset:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("clip_adapter.encoders.load_encoder", lambda name, **_: encoder(name))
            patch.setattr("clip_adapter.pipeline.encode.FILES_WORTH_MERGING", files_worth_merging)
            patch.setattr(feature_writer, "WRITE_EVERY_SECONDS", 0.0)
            indexed = index_dataset(f"imagefolder:{few_photos}", root=root, data=root)
            return encode_dataset(indexed, Encoding(model=model, views=1))

    return run


@pytest.fixture
def events() -> list[PromotionRecord]:
    """Every decision about a regression, as it was reported before it was recorded."""
    return []


@pytest.fixture
def datasets(root: Path, events: list[PromotionRecord]) -> SyntheticDatasets:
    """Makes datasets of features in the store at `root`."""
    return SyntheticDatasets(root, events)


@pytest.fixture(scope="session")
def trained_gallery(tmp_path_factory: pytest.TempPathFactory) -> EncodedDataset:
    """A dataset `gallery` with runs and a champion; its store is only copied."""
    made = SyntheticDatasets(tmp_path_factory.mktemp("gallery") / "store")
    encoded = made.make_dataset()
    assert made.retrain(encoded, GOOD).record.decision == "promoted"
    return encoded


@pytest.fixture
def gallery(root: Path, trained_gallery: EncodedDataset) -> EncodedDataset:
    """A dataset `gallery` with runs and a champion in the store at `root`."""
    shutil.copytree(str(trained_gallery.dataset.root), root)
    dataset = replace(trained_gallery.dataset, root=root)
    return replace(trained_gallery, dataset=dataset.with_index(trained_gallery.dataset.index))


@pytest.fixture
def current_champion(root: Path) -> Callable[[], Champion | None]:
    """The current champion of the dataset."""
    store = PromotionStore(root)
    return lambda: store.champion("gallery", on_corruption=lambda _: None)


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a champion of the handwritten digits, their images below `images/digits`."""
    from clip_adapter import train  # noqa: PLC0415  # imports what computes

    root = tmp_path_factory.mktemp("digits") / "store"
    methods = ["zero-shot", "gda", "tip-adapter"]
    training = train(
        "digits", "glyphs", methods=methods, shots=[4], seeds=[1], promote=True, root=root
    )
    assert training.promotion is not None
    assert training.promotion.record.decision == "promoted"
    return root
