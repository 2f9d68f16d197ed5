"""Exports a trained classifier as a folder for use elsewhere, checked against PyTorch first."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from clip_adapter.errors import DatasetError, EncoderError, ParameterError, UnreadableImageError
from clip_adapter.exports import (
    Agreement,
    ModelCard,
    check_packages,
    is_export,
    public_classifier,
    read_card,
    run_graph,
    write_files,
)
from clip_adapter.exports.folder import (
    DEFAULT_OPSET,
    HEAD_FILE,
    MODEL_FILE,
    OPSETS,
    SCRIPT_FILE,
    preprocessing_settings,
)
from clip_adapter.images import FolderReader, decode_image, image_format, read_image_file
from clip_adapter.methods import SavedClassifier
from clip_adapter.pipeline.datasets import StoredDataset, read_dataset
from clip_adapter.pipeline.load import ImageClassifier, load
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.settings import Settings
from feature_cache import FeatureStore, InvalidInputError, Location, NotStoredError
from feature_cache.exchange.atomic_write import new_folder

CHECKED_IMAGES = 64
"""Default number of images on which the exported graphs are compared with PyTorch."""
BATCH = 32
GENERATED = "generated pictures"

_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported folder.

    Attributes:
        folder: the folder.
        files: names of its files.
        agreement: comparison of the exported graph with PyTorch in fp32.
        images: description of the images, or features, of the comparison.
        is_real: whether these are real and not generated.
        precision: precision of the encoder whose features trained the classifier.
        precision_agreement: comparison of the fp32 graph with an encoder of another precision.
    """

    folder: Path
    files: tuple[str, ...]
    agreement: Agreement
    images: str
    is_real: bool
    precision: str
    precision_agreement: Agreement | None = None

    @property
    def summary(self) -> list[str]:
        """Lines for a log: files, and how far the graphs are from PyTorch."""
        found = self.agreement
        compared = (
            f"onnxruntime and PyTorch agree on {found.n_images} {self.images}: probabilities differ by "
            f"at most {found.difference:.1e}, every most probable class is the same"
        )
        lines = [
            f"{len(self.files)} files in {self.folder}: {', '.join(self.files)}",
            compared,
        ]
        if not self.is_real:
            lines.append("no real image was at hand: name some with --images, and export again")
        if self.precision_agreement is not None:
            lines.append(
                f"the graph computes in fp32, the classifier was trained in {self.precision}: against "
                f"that, probabilities differ by at most {self.precision_agreement.difference:.1e}, and "
                f"{self.precision_agreement.n_other_class} images get another class"
            )
        return lines


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """The graphs of a folder, compared."""

    agreement: Agreement
    images: str
    is_real: bool
    precision: str = "fp32"
    precision_agreement: Agreement | None = None

    def as_config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "n_images": self.agreement.n_images,
            "images": self.images,
            "is_real": self.is_real,
            "largest_difference": self.agreement.difference,
            "precision": None,
        }
        if (found := self.precision_agreement) is not None:
            config["precision"] = {
                "name": self.precision,
                "largest_difference": found.difference,
                "n_other_class": found.n_other_class,
            }
        return config


def export(
    classifier: str | Path,
    to: str | Path,
    *,
    root: Location | str | None = None,
    data: Path | str | None = None,
    model: str | None = None,
    encoder: bool = True,
    images: Sequence[str | Path] = (),
    max_images: int = CHECKED_IMAGES,
    opset: int = DEFAULT_OPSET,
    overwrite: bool = False,
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> Exported:
    """Export a trained classifier as a folder with ONNX graphs, a model card and a script.

    The graphs are run by onnxruntime on real images and compared with PyTorch before the folder gets
    its name: it is complete and agrees, or is absent. No file holds a path of this machine.

    Args:
        classifier: path of a classifier's file, `champion:DATASET` or `run:ID`, as `load` takes it.
        to: folder to write.
        root: folder or URL of the store; CLIP_ADAPTER_ROOT when None.
        data: folder of dataset folders; CLIP_ADAPTER_DATA when None.
        model: name of the encoder's model in place of the one that the file names.
        encoder: export the encoder with the classifier; else the classifier of features alone.
        images: files and folders of images to compare on; by default training and validation images
            of the classifier's dataset, and generated pictures where these are not at hand.
        max_images: largest number of images to compare on.
        opset: version of ONNX's operators, one of `OPSETS`.
        overwrite: replace the folder of an earlier export.
        reporter: where to report what is being done.

    Raises:
        UnavailableError: a package of the extra `export` is not installed.
        ParameterError: the opset or the number of images is out of range, or no image can be read.
        InvalidInputError: the folder exists and may not be replaced.
        EncoderError: the encoder is not known, cannot be loaded or cannot be exported.
        DataError: the file holds no classifier or one that cannot be exported, its encoder is
            another, or the graphs disagree with PyTorch.
        UnknownNameError, RunStoreError, FileNotFoundError, FeatureCacheError: as `load`.
    """
    check_packages()
    _check_numbers(opset, max_images)
    folder = _target(to, overwrite=overwrite)
    settings = Settings.of(root=None if root is None else str(root), data=data)
    loaded = load(classifier, root=settings.location, model=model, device="cpu", reporter=reporter)
    if encoder:
        _check_has_encoder(loaded)
    saved = public_classifier(loaded.saved)
    pictures = CheckImages(saved, settings, given=tuple(map(Path, images)), limit=max_images)
    with new_folder(folder, overwrite=overwrite) as temporary:
        reporter.log("exporting as ONNX: " + (MODEL_FILE if encoder else HEAD_FILE))
        write = _write_model if encoder else _write_head
        checked = write(temporary, loaded, pictures, opset)
        card = read_card(saved, root=settings.location)
        _write_rest(temporary, loaded, saved, card=card, checked=checked, has_encoder=encoder)
        files = tuple(sorted(path.name for path in temporary.iterdir()))
    return Exported(folder=folder, files=files, **vars(checked))


class CheckImages:
    """Real images, or features, on which exported graphs are compared with PyTorch.

    Args:
        saved: the classifier.
        settings: places of the store and of datasets.
        given: files and folders that the user names.
        limit: largest number of images.
    """

    def __init__(
        self, saved: SavedClassifier, settings: Settings, *, given: Sequence[Path], limit: int
    ) -> None:
        self.saved, self.settings, self.given, self.limit = saved, settings, given, limit

    def contents(self) -> tuple[str, Iterator[bytes]]:
        """A description of the images, and the content of each file; empty where there are none.

        Raises:
            ParameterError: none of the files that the user names is an image.
        """
        if self.given:
            files = list(_image_files(self.given))
            if not files:
                named = ", ".join(map(str, self.given[:3]))
                raise ParameterError(f"no image in {named}: name image files, or folders of them")
            return "images that were named", _read_files(_spread(files, self.limit))
        dataset = self._dataset()
        if dataset is None or dataset.state != "present":
            return "", iter(())
        what = f"training and validation images of {dataset.name}"
        return what, _read_rows(dataset, _rows_to_check(dataset, self.limit))

    def features(self) -> tuple[str, Float[np.ndarray, "n d"]] | None:
        """A description and stored features of the dataset; None where they are not stored."""
        dataset = self._dataset()
        if dataset is None or not self.saved.encoder:
            return None
        rows = _rows_to_check(dataset, self.limit)
        digests = [dataset.index.image_sha256[row] for row in rows]
        try:
            store = FeatureStore(self.settings.location, self.saved.encoder)
            found = store.read_images(digests)
        except (NotStoredError, InvalidInputError):
            return None
        return f"stored features of {dataset.name}", found.astype(np.float32)

    def _dataset(self) -> StoredDataset | None:
        described = self.saved.metadata
        # A name in a file is looked up among the stored names; it is no path to open.
        if described is None or ":" in described.dataset:
            return None
        try:
            found = read_dataset(
                self.settings.location, described.dataset, data=self.settings.data_folder
            )
        except (NotStoredError, DatasetError):
            return None
        return found


def _write_model(
    folder: Path, loaded: ImageClassifier, pictures: CheckImages, opset: int
) -> _Checked:
    from clip_adapter.exports.onnx_graphs import write_head, write_model  # noqa: PLC0415  # torch

    saved, encoder = loaded.saved, loaded.encoder
    precision = encoder.precision.precision
    in_fp32 = encoder
    if precision != "fp32" and loaded.encoding is not None:
        in_fp32 = replace(loaded.encoding, precision="fp32").encoder
    write_head(saved, folder / HEAD_FILE, opset=opset)
    write_model(saved, in_fp32, folder / MODEL_FILE, opset=opset)
    what, pixels, values = _pixels(pictures, in_fp32)
    features = in_fp32.encode_images(pixels)
    expected = saved.probabilities(features)
    agreement = Agreement.of(expected, run_graph(folder / MODEL_FILE, _batches(values)))
    agreement.check(MODEL_FILE)
    Agreement.of(expected, run_graph(folder / HEAD_FILE, _batches(features))).check(HEAD_FILE)
    other = None
    if in_fp32 is not encoder:
        trained_on = encoder.encode_images(pixels).astype(np.float32)
        other = Agreement.of(saved.probabilities(trained_on), expected)
    return _Checked(
        agreement=agreement,
        images=what,
        is_real=what != GENERATED,
        precision=precision,
        precision_agreement=other,
    )


def _write_head(
    folder: Path, loaded: ImageClassifier, pictures: CheckImages, opset: int
) -> _Checked:
    from clip_adapter.exports.onnx_graphs import write_head  # noqa: PLC0415  # torch

    write_head(loaded.saved, folder / HEAD_FILE, opset=opset)
    found = _embedded(pictures, loaded) if pictures.given else pictures.features()
    generator = np.random.default_rng(0)
    shape = (pictures.limit, loaded.width)
    what, features = found or ("generated features", generator.normal(size=shape))
    features = features.astype(np.float32)
    expected = loaded.saved.probabilities(features)
    agreement = Agreement.of(expected, run_graph(folder / HEAD_FILE, _batches(features)))
    agreement.check(HEAD_FILE)
    return _Checked(agreement=agreement, images=what, is_real=found is not None)


def _write_rest(
    folder: Path,
    loaded: ImageClassifier,
    saved: SavedClassifier,
    *,
    card: ModelCard,
    checked: _Checked,
    has_encoder: bool,
) -> None:
    config = checked.as_config()
    write_files(
        folder,
        saved,
        preprocessing=loaded.encoder.preprocessing if has_encoder else None,
        card=card.text(has_encoder=has_encoder, checked=config),
        checked=config,
    )


def _embedded(
    pictures: CheckImages, loaded: ImageClassifier
) -> tuple[str, Float[np.ndarray, "n d"]]:
    what, pixels, _ = _pixels(pictures, loaded.encoder)
    return what, loaded.encoder.encode_images(pixels).astype(np.float32)


def _pixels(
    pictures: CheckImages, encoder: Any
) -> tuple[str, UInt8[np.ndarray, "n h w 3"], Float[np.ndarray, "n 3 h w"]]:
    """The pixels of the images by this library, and by the exported script.

    What only one of them reads is left out: the script ends with an error there, and gives no other
    answer.
    """
    from clip_adapter.exports import classify  # noqa: PLC0415  # imports onnxruntime

    settings = preprocessing_settings(encoder.preprocessing)
    what, contents = pictures.contents()
    ours, theirs = [], []
    for content in contents:
        try:
            picture = decode_image(content)
            image = classify.read_image(BytesIO(content))
        except (UnreadableImageError, OSError, ValueError, Image.DecompressionBombError):
            continue
        ours.append(encoder.geometry.pixels(picture, image_sha256=b"\0" * 32))
        theirs.append(classify.pixel_values(image, settings)[0])
    if not ours and pictures.given:
        raise ParameterError("none of the images that --images names can be read: name others")
    if not ours:
        what = GENERATED
        generated = _generated(pictures.limit)
        ours = [encoder.geometry.pixels(each, image_sha256=b"\0" * 32) for each in generated]
        theirs = [classify.pixel_values(each, settings)[0] for each in generated]
    return what, np.stack(ours), np.stack(theirs)


def _generated(n: int) -> list[Image.Image]:
    """Smooth pictures of noise."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return [Image.fromarray(each).resize((96, 72), Image.Resampling.BICUBIC) for each in small]


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    """One row by itself, which shows that the size of a batch is free, then batches of some."""
    return [rows[:1], *(rows[first : first + BATCH] for first in range(1, len(rows), BATCH))]


def _rows_to_check(dataset: StoredDataset, limit: int) -> list[int]:
    """Rows at equal distances among those of training and validation; all rows where there are none."""
    splits = dataset.index.splits
    rows = [row for row, split in enumerate(splits) if split != "test"] or [*range(len(splits))]
    return _spread(rows, limit)


def _spread(items: Sequence[_Item], n: int) -> list[_Item]:
    """At most `n` of the items, at equal distances."""
    chosen = np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int)
    return [items[place] for place in chosen]


def _read_rows(dataset: StoredDataset, rows: Iterable[int]) -> Iterator[bytes]:
    with FolderReader(dataset.index.source.folder) as reader:
        for row in rows:
            try:
                yield reader.read(dataset.index.paths[row])
            except UnreadableImageError:
                continue  # gone since it was indexed


def _read_files(files: Iterable[Path]) -> Iterator[bytes]:
    for file in files:
        try:
            yield read_image_file(file)
        except UnreadableImageError:
            continue


def _image_files(given: Iterable[Path]) -> Iterator[Path]:
    for each in given:
        path = each.expanduser()
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in files if file.is_file() and _is_image(file))


def _is_image(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return image_format(stream.read(64)) is not None
    except OSError:
        return False


def _check_numbers(opset: int, max_images: int) -> None:
    if opset not in OPSETS:
        raise ParameterError(
            f"opset is {opset}; expected {OPSETS.start} to {OPSETS.stop - 1}, the versions of ONNX's "
            "operators that torch writes and onnxruntime runs"
        )
    if max_images < 1:
        raise ParameterError(f"max_images is {max_images}; expected 1 or more")


def _check_has_encoder(loaded: ImageClassifier) -> None:
    described = loaded.saved.metadata
    if described is not None and described.encoder.is_imported and loaded.encoding is None:
        raise EncoderError(
            f"the classifier takes imported features, made by {described.encoder.model!r:.200}, an "
            "encoder that is not here: export the classifier alone with --no-encoder, or name the "
            "model that made them with --model"
        )


def _target(to: str | Path, *, overwrite: bool) -> Path:
    """The folder to write, which may be written."""
    folder = Path(to).expanduser().resolve()
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is a file: choose the name of a folder")
    if not overwrite:
        raise InvalidInputError(
            f"{folder} exists: choose another name, or allow to overwrite it (--overwrite)"
        )
    if any(folder.iterdir()) and not is_export(folder):
        raise InvalidInputError(
            f"{folder} holds other files than an export (no {SCRIPT_FILE} with a config.json of "
            "clip-adapter): it is not replaced; choose another name"
        )
    return folder
