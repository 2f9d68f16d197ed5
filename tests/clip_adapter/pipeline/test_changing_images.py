"""Image files that change between indexing and encoding: their rows are made again."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_adapter.encoders import load_encoder
from clip_adapter.errors import ImageError
from clip_adapter.images import decode_image
from clip_adapter.pipeline import encode
from clip_adapter.pipeline.ablations import reproduce
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.extract import INDEXED_AGAIN, extract
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.train import train
from clip_adapter.progress import Advance
from feature_cache import FeatureStore

PutPhotos = Callable[..., Path]
AGAIN = "red/003.jpg changed or vanished after it was indexed: indexing again"


class ChangesFiles(Reporter):
    """Changes a file whenever images are about to be encoded, as another program may at that time."""

    def __init__(self, *changes: Callable[[], object]) -> None:
        self.changes = list(changes)
        self.messages: list[str] = []

    def log(self, message: str) -> None:
        self.messages.append(message)

    def progress(
        self, description: str, *, total: float, unit: str
    ) -> AbstractContextManager[Advance]:
        if description.startswith("encoding") and self.changes:
            self.changes.pop(0)()
        return super().progress(description, total=total, unit=unit)


@pytest.fixture(name="asked")
def _asked(photos: Path, root: Path, tiny_model: str) -> dict[str, Any]:
    return {"dataset": f"imagefolder:{photos}", "root": str(root), "model": tiny_model}


def digests_of(photos: Path) -> dict[str, bytes]:
    return {
        path.relative_to(photos).as_posix(): hashlib.sha256(path.read_bytes()).digest()
        for path in photos.glob("*/*.jpg")
    }


def digests_in(encoded: EncodedDataset) -> dict[str, bytes]:
    index = encoded.dataset.index
    return dict(zip(index.paths, index.image_sha256, strict=True))


def test_the_row_of_a_file_that_changes_is_made_again_and_has_the_feature_of_its_new_content(
    photos: Path, put_photos: PutPhotos, asked: dict[str, Any], root: Path, tiny_model: str
) -> None:
    path = photos / "red" / "003.jpg"
    before = hashlib.sha256(path.read_bytes()).digest()
    other = put_photos(photos.parent / "other", "red", [99]) / "red" / "099.jpg"
    reporter = ChangesFiles(lambda: path.write_bytes(other.read_bytes()))

    encoded = extract(**asked, reporter=reporter)

    assert reporter.messages.count(AGAIN) == 1
    assert digests_in(encoded) == digests_of(photos)
    digest = digests_in(encoded)["red/003.jpg"]
    store, encoder = FeatureStore(root, encoded.encoder), load_encoder(tiny_model)
    pixels = encoder.geometry.pixels(decode_image(path.read_bytes()), image_sha256=digest)
    np.testing.assert_array_equal(store.read_images([digest]), encoder.encode_images(pixels[None]))
    assert store.missing_images([before]) == [before]


@pytest.mark.parametrize("parts", [1, 3])
def test_the_row_of_a_file_that_vanishes_goes(
    photos: Path, asked: dict[str, Any], parts: int
) -> None:
    reporter = ChangesFiles((photos / "red" / "003.jpg").unlink)

    encoded = extract(**asked, parts=parts, reporter=reporter)

    assert reporter.messages.count(AGAIN) == 1
    assert encoded.dataset.n_images == 89
    assert digests_in(encoded) == digests_of(photos)


def test_a_file_that_becomes_unreadable_is_quarantined(photos: Path, asked: dict[str, Any]) -> None:
    reporter = ChangesFiles(lambda: (photos / "red" / "003.jpg").write_bytes(b"\xff\xd8\xff half"))

    encoded = extract(**asked, reporter=reporter)

    assert (encoded.dataset.n_images, encoded.dataset.n_quarantined) == (89, 1)
    assert any(line.startswith("quarantined red/003.jpg") for line in reporter.messages)


def test_what_was_encoded_before_a_change_was_noticed_is_kept(
    photos: Path, put_photos: PutPhotos, asked: dict[str, Any]
) -> None:
    extract(**asked)
    put_photos(photos, "red", [40])
    reporter = ChangesFiles((photos / "red" / "040.jpg").unlink)

    encoded = extract(**asked, reporter=reporter)

    assert (encoded.n_encoded, encoded.n_reused) == (0, 90)


def test_images_that_keep_changing_end_the_run_after_some_times(
    photos: Path, asked: dict[str, Any]
) -> None:
    def grow() -> None:
        with (photos / "red" / "003.jpg").open("ab") as file:
            file.write(b"\0")  # which a JPEG may end with

    reporter = ChangesFiles(*[grow] * 9)

    with pytest.raises(ImageError, match=r"red/003\.jpg.* its content is another; run again"):
        extract(**asked, reporter=reporter)

    assert reporter.messages.count(AGAIN) == INDEXED_AGAIN


def test_training_goes_on_with_the_files_as_they_are(photos: Path, asked: dict[str, Any]) -> None:
    reporter = ChangesFiles((photos / "red" / "003.jpg").unlink)

    done = train(**asked, methods=["tip-adapter-f"], shots=[1], seeds=[1], reporter=reporter)

    assert reporter.messages.count(AGAIN) == 1
    assert digests_in(done.encoded) == digests_of(photos)
    assert done.runs.n_trained == 1


def test_a_study_goes_on_with_the_files_as_they_are(photos: Path, asked: dict[str, Any]) -> None:
    reporter = ChangesFiles((photos / "red" / "003.jpg").unlink)

    done = reproduce(
        "output-activation", **asked, shots=[1], seeds=[1], recipe="fast", reporter=reporter
    )

    assert reporter.messages.count(AGAIN) == 1
    assert digests_in(done.encoded) == digests_of(photos)
    assert done.n_trained == 2


def test_a_name_with_a_line_break_stays_in_its_line(photos: Path, asked: dict[str, Any]) -> None:
    path = (photos / "red" / "003.jpg").rename(photos / "red" / "a\nb.jpg")
    reporter = ChangesFiles(path.unlink)

    extract(**asked, reporter=reporter)

    assert AGAIN.replace("003.jpg", r"a\nb.jpg") in reporter.messages


def test_another_error_about_images_is_raised_at_once(asked: dict[str, Any]) -> None:
    steps: list[str] = []

    class Fails(Executor):
        def call(self, step: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            steps.append(step.__name__)
            if step is encode.encode_dataset:
                raise ImageError("there is no training view 0")
            return step(*args, **kwargs)

    with pytest.raises(ImageError, match="no training view"):
        extract(**asked, executor=Fails())

    assert steps == ["index_dataset", "encode_dataset"]
