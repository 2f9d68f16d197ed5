"""The model of a request that names none, and what is said where `glyphs` encodes photos."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.encoders import BUILT_IN, DEFAULT_MODEL
from clip_adapter.errors import NoNetworkError
from clip_adapter.pipeline.default_model import choose_model
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.extract import extract
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import ExtractRequest
from clip_adapter.pipeline.train import train
from clip_adapter.runs import RequestStore

PutPhotos = Callable[..., Path]
GOLDEN = Path(__file__).parents[2] / "golden"


class Warnings(Reporter):
    """Keeps the warnings, and drops other messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        """Drop a message."""

    def warn(self, message: str) -> None:
        """Keep a warning."""
        self.lines.append(message)


@pytest.fixture(name="warnings")
def _warnings() -> Warnings:
    return Warnings()


@pytest.fixture(name="by_default")
def _by_default(root: Path, warnings: Warnings) -> Callable[..., str]:
    """The model of a request that names none."""

    def choose(dataset: str, *, root: Path = root) -> str:
        return choose_model(None, dataset=dataset, root=root, reporter=warnings)

    return choose


def encode(
    dataset: str, root: Path, *, model: str | None = None, reporter: Reporter
) -> EncodedDataset:
    request = ExtractRequest.of(dataset=dataset, model=model, root=root)
    return extract(request, reporter=reporter)


def extract_as_before(dataset: str, root: Path) -> str:
    """Extract as a version did that took `glyphs` by default; returns the name in the store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clip_adapter.pipeline.default_model.DEFAULT_MODEL", BUILT_IN)
        return encode(dataset, root, reporter=Warnings()).dataset.name


@pytest.mark.parametrize(
    ("dataset", "model"),
    [
        ("digits", "glyphs"),
        ("eurosat", "ViT-B-32-quickgelu:openai"),
        ("photos", "ViT-B-32-quickgelu:openai"),
    ],
)
def test_digits_are_read_by_glyphs_and_other_images_by_clip(
    by_default: Callable[..., str], warnings: Warnings, dataset: str, model: str
) -> None:
    assert by_default(dataset) == model
    assert warnings.lines == []


def test_photos_of_fifteen_kinds_are_not_encoded_with_glyphs_without_a_word(
    root: Path, tmp_path: Path, put_photos: PutPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in range(15):
        put_photos(
            tmp_path / "kinds", f"kind {kind}", range(kind * 10, kind * 10 + 10), colour="red"
        )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("clip_adapter.encoders.availability._answers", lambda *_, **__: False)
    with pytest.raises(NoNetworkError) as refusal:
        encode(f"imagefolder:{tmp_path / 'kinds'}", root, reporter=Warnings())
    for words in (
        DEFAULT_MODEL,
        "local-dir:",
        "'glyphs', a small encoder",
        "printed characters only",
    ):
        assert words in str(refusal.value)
    assert not root.exists()


def test_glyphs_warns_once_about_photos_and_never_about_digits(
    photos: Path, root: Path, warnings: Warnings
) -> None:
    name = encode(f"imagefolder:{photos}", root, model="glyphs", reporter=warnings).dataset.name
    (line,) = warnings.lines
    for words in (name, "printed characters only", f"--model {DEFAULT_MODEL}"):
        assert words in line
    assert choose_model("glyphs", dataset="digits", root=root, reporter=warnings) == "glyphs"
    assert warnings.lines == [line]


def test_another_model_on_photos_is_taken_without_a_word(root: Path, warnings: Warnings) -> None:
    asked = choose_model("hf-hub:a/b", dataset="eurosat", root=root, reporter=warnings)
    assert (asked, warnings.lines) == ("hf-hub:a/b", [])


def test_a_dataset_keeps_the_glyphs_that_it_took_by_default(
    photos: Path, root: Path, warnings: Warnings
) -> None:
    name = extract_as_before(f"imagefolder:{photos}", root)
    again = encode(f"imagefolder:{photos}", root, reporter=warnings)
    assert (again.model, again.n_encoded, again.n_reused) == ("glyphs", 0, 90)
    (line,) = warnings.lines
    for words in (name, "next release", f"--model {DEFAULT_MODEL}", "--model glyphs"):
        assert words in line


@pytest.mark.parametrize("named", ["glyphs", "the tiny model"])
def test_a_model_that_is_named_ends_that(
    photos: Path, root: Path, tiny_model: str, warnings: Warnings, named: str
) -> None:
    name = extract_as_before(f"imagefolder:{photos}", root)
    model = "glyphs" if named == "glyphs" else tiny_model
    encode(f"imagefolder:{photos}", root, model=model, reporter=Warnings())
    assert len(RequestStore(root).history(name)) == 2
    assert choose_model(None, dataset=name, root=root, reporter=warnings) == DEFAULT_MODEL
    assert warnings.lines == []


def test_a_store_without_requests_keeps_glyphs_if_all_runs_are_of_glyphs(
    by_default: Callable[..., str], warnings: Warnings
) -> None:
    store = GOLDEN / "store-1"
    assert by_default("imagefolder-colours-335028bb", root=store) == "glyphs"
    assert len(warnings.lines) == 1
    assert by_default("eurosat", root=store) == DEFAULT_MODEL


def test_a_store_without_requests_takes_the_default_if_some_runs_are_of_another_model(
    photos: Path, root: Path, tiny_model: str, by_default: Callable[..., str]
) -> None:
    for model in (tiny_model, "glyphs"):
        name = train(
            f"imagefolder:{photos}",
            model,
            methods=["zero-shot"],
            shots=[1],
            root=root,
        ).encoded.dataset.name
    shutil.rmtree(root / "runs" / "requests")
    assert by_default(name) == DEFAULT_MODEL


def test_a_store_whose_last_request_named_glyphs_takes_the_default(
    by_default: Callable[..., str],
) -> None:
    assert by_default("imagefolder-colours-87987479", root=GOLDEN / "store-2") == DEFAULT_MODEL
