"""Exports a trained classifier as a folder for use elsewhere, checked against PyTorch first."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from clip_adapter.errors import (
    DataError,
    DatasetError,
    EncoderError,
    ParameterError,
    UnreadableImageError,
)
from clip_adapter.exports import (
    Agreement,
    ModelCard,
    check_packages,
    foreign_file,
    is_export,
    open_graph,
    public_classifier,
    read_card,
    write_files,
)
from clip_adapter.exports.folder import (
    CONFIG_FILE,
    DEFAULT_OPSET,
    HEAD_FILE,
    MODEL_FILE,
    OPSETS,
    SCRIPT_FILE,
    preprocessing_settings,
)
from clip_adapter.images import decode_image, open_images
from clip_adapter.methods import SavedClassifier
from clip_adapter.methods.extended_classifier import ExtendedClassifier
from clip_adapter.pipeline.datasets import StoredDataset, read_dataset
from clip_adapter.pipeline.image_inputs import Content, ImageGroup, find_images, image_files
from clip_adapter.pipeline.load import CHAMPION, RUN, ImageClassifier, load
from clip_adapter.pipeline.open_vocabulary import ReorderedClassifier
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.settings import Settings
from feature_cache import FeatureStore, InvalidInputError, Location, NotStoredError
from feature_cache.exchange.atomic_write import new_folder

if TYPE_CHECKING:
    from clip_adapter.encoders import Encoder

CHECKED_IMAGES = 64
"""Default number of images on which the exported graphs are compared with PyTorch."""
BATCH = 32
GENERATED, GENERATED_FEATURES = "generated pictures", "generated features"

_Item = TypeVar("_Item")
_Pair = tuple[Image.Image, Image.Image]
_Batch = tuple[UInt8[np.ndarray, "n h w 3"], Float[np.ndarray, "n 3 h w"]]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported folder.

    Attributes:
        folder: the folder.
        files: names of its files.
        agreement: comparison of the exported graph with PyTorch in fp32.
        images: description of the images, or features, of the comparison.
        is_real: whether these are real and not generated.
        n_unreadable: number of images that were left out, as this library or the exported script cannot
            read them.
        precision: precision of the encoder whose features trained the classifier.
        precision_agreement: comparison of the fp32 graph with an encoder of another precision.
    """

    folder: Path
    files: tuple[str, ...]
    agreement: Agreement
    images: str
    is_real: bool
    n_unreadable: int
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
        if self.n_unreadable:
            lines.append(
                f"{self.n_unreadable} images were left out: clip-adapter or {SCRIPT_FILE} cannot read them"
            )
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
    n_unreadable: int
    precision: str = "fp32"
    precision_agreement: Agreement | None = None

    def as_config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "n_images": self.agreement.n_images,
            "images": self.images,
            "is_real": self.is_real,
            "n_unreadable": self.n_unreadable,
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
        images: files, folders, patterns and tar archives of images to compare on; by default training and validation images
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
            another, the graphs disagree with PyTorch, or no image is found where they are named.
        FileNotFoundError: there is no such classifier, or an image that is named is missing.
        UnknownNameError, RunStoreError, FeatureCacheError: as `load`.
    """
    check_packages()
    _check_numbers(opset, max_images)
    folder = _target(to, overwrite=overwrite)
    given = find_images([str(Path(each).expanduser()) for each in images]) if images else []
    settings = Settings.of(root=None if root is None else str(root), data=data)
    loaded = load(classifier, root=settings.location, model=model, device="cpu", reporter=reporter)
    _check_kind(loaded)
    if encoder:
        _check_has_encoder(loaded)
    saved = public_classifier(loaded.saved)
    pictures = CheckImages(saved, settings, given=given, limit=max_images)
    with new_folder(folder, overwrite=overwrite) as temporary:
        reporter.log("exporting as ONNX: " + (MODEL_FILE if encoder else HEAD_FILE))
        write = _write_model if encoder else _write_head
        checked = write(temporary, loaded, pictures, opset)
        is_stored = str(classifier).startswith((CHAMPION, RUN))
        card = read_card(saved, root=settings.location if is_stored else None)
        _write_rest(temporary, loaded, saved, card=card, checked=checked, has_encoder=encoder)
        files = tuple(sorted(path.name for path in temporary.iterdir()))
    return Exported(folder=folder, files=files, **vars(checked))


def _check_kind(loaded: ImageClassifier) -> None:
    """Refuse a classifier that was given classes by name after its training."""
    classifier = loaded.saved.classifier
    if isinstance(classifier, ExtendedClassifier | ReorderedClassifier):
        raise DataError(
            f"a classifier of {loaded.saved.method} with classes that it was not trained on, as of base "
            "to new or of a budget that misses a class, cannot be exported: export one that was trained on "
            "all its classes"
        )


class CheckImages:
    """Real images, or features, on which exported graphs are compared with PyTorch.

    Args:
        saved: the classifier.
        settings: places of the store and of datasets.
        given: images that the user names.
        limit: largest number of images.

    Attributes:
        what: description of the images, or features, that were compared.
        n_unreadable: number of images that could not be read by this library or by the script.
    """

    def __init__(
        self,
        saved: SavedClassifier,
        settings: Settings,
        *,
        given: Sequence[ImageGroup],
        limit: int,
    ) -> None:
        self.saved, self.settings, self.given, self.limit = saved, settings, given, limit
        self.what, self.n_unreadable = "", 0

    def pixels(self, encoder: "Encoder") -> Iterator[_Batch]:
        """Batches of the images' pixels by this library, and by the exported script.

        What only one of them reads is left out: the script gives no answer there. Memory holds one
        batch.

        Raises:
            ParameterError: none of the images that the user names can be read.
        """
        from clip_adapter.exports import classify  # noqa: PLC0415  # imports onnxruntime

        settings = preprocessing_settings(encoder.preprocessing)
        readable: Iterator[_Pair] = filter(None, map(self._decode, self._contents()))
        first = next(readable, None)
        if first is None and self.given:
            raise ParameterError("none of the images that --images names can be read: name others")
        if first is None:
            self.what = GENERATED
            readable = ((each, each) for each in _generated(self.limit))
        pictures = readable if first is None else chain([first], readable)
        for some in _batches(pictures):
            ours = [encoder.geometry.pixels(each, image_sha256=b"\0" * 32) for each, _ in some]
            theirs = [classify.pixel_values(each, settings)[0] for _, each in some]
            yield np.stack(ours), np.stack(theirs)

    def features(self, loaded: ImageClassifier) -> Iterator[Float[np.ndarray, "n d"]]:
        """Batches of features: of the images that are named, else those stored, else generated ones."""
        if self.given:
            for pixels, _ in self.pixels(loaded.encoder):
                yield loaded.encoder.encode_images(pixels).astype(np.float32)
            return
        rows: Iterable[np.ndarray] | None = self._stored_features()
        if rows is None:
            self.what = GENERATED_FEATURES
            generator = np.random.default_rng(0)
            rows = (generator.normal(size=loaded.width) for _ in range(self.limit))
        for some in _batches(rows):
            yield np.stack(some).astype(np.float32)

    def _decode(self, content: Content) -> _Pair | None:
        """The image as this library and as the exported script decode it; None if one cannot."""
        from clip_adapter.exports import classify  # noqa: PLC0415  # imports onnxruntime

        try:
            if not isinstance(content, UnreadableImageError):
                return decode_image(content), classify.read_image(BytesIO(content))
        except Exception:  # noqa: BLE001, S110  # Pillow's decoders raise what they like
            pass
        self.n_unreadable += 1
        return None

    def _contents(self) -> Iterator[Content]:
        """The content of each image; empty where there are none."""
        if self.given:
            self.what = "images that were named"
            return _read_groups(self.given, self.limit)
        dataset = self._dataset()
        if dataset is None or dataset.state not in {"present", "remote"}:
            return iter(())
        self.what = f"training and validation images of {dataset.name}"
        return _read_rows(dataset, _rows_to_check(dataset, self.limit))

    def _stored_features(self) -> Float[np.ndarray, "n d"] | None:
        """Stored features of the dataset; None where they are not stored."""
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
        self.what = f"stored features of {dataset.name}"
        return found

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
    head, model = open_graph(folder / HEAD_FILE), open_graph(folder / MODEL_FILE)
    of_head, of_model, of_precision = [], [], []
    for pixels, values in pictures.pixels(in_fp32):
        features = in_fp32.encode_images(pixels)
        expected = saved.probabilities(features)
        of_model.append(Agreement.of(expected, model(values)))
        of_head.append(Agreement.of(expected, head(features)))
        if in_fp32 is not encoder:
            trained_on = encoder.encode_images(pixels).astype(np.float32)
            of_precision.append(Agreement.of(saved.probabilities(trained_on), expected))
    agreement = Agreement.total(of_model)
    agreement.check(MODEL_FILE)
    Agreement.total(of_head).check(HEAD_FILE)
    return _checked(
        pictures,
        agreement=agreement,
        precision=precision,
        precision_agreement=Agreement.total(of_precision) if of_precision else None,
    )


def _write_head(
    folder: Path, loaded: ImageClassifier, pictures: CheckImages, opset: int
) -> _Checked:
    from clip_adapter.exports.onnx_graphs import write_head  # noqa: PLC0415  # torch

    write_head(loaded.saved, folder / HEAD_FILE, opset=opset)
    head = open_graph(folder / HEAD_FILE)
    agreement = Agreement.total(
        [
            Agreement.of(loaded.saved.probabilities(some), head(some))
            for some in pictures.features(loaded)
        ]
    )
    agreement.check(HEAD_FILE)
    return _checked(pictures, agreement=agreement)


def _checked(pictures: CheckImages, **found: Any) -> _Checked:
    return _Checked(
        images=pictures.what,
        is_real=pictures.what not in {GENERATED, GENERATED_FEATURES},
        n_unreadable=pictures.n_unreadable,
        **found,
    )


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


def _generated(n: int) -> Iterator[Image.Image]:
    """Smooth pictures of noise."""
    generator = np.random.default_rng(0)
    for _ in range(n):
        small = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        yield Image.fromarray(small).resize((96, 72), Image.Resampling.BICUBIC)


def _batches(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """One item by itself, which shows that the size of a batch is free, then batches of some."""
    rest = iter(items)
    size = 1
    while some := list(islice(rest, size)):
        yield some
        size = BATCH


def _rows_to_check(dataset: StoredDataset, limit: int) -> list[int]:
    """Rows at equal distances among those of training and validation; all rows where there are none."""
    splits = dataset.index.splits
    rows = [row for row, split in enumerate(splits) if split != "test"] or [*range(len(splits))]
    return _spread(rows, limit)


def _spread(items: Sequence[_Item], n: int) -> list[_Item]:
    """At most `n` of the items, at equal distances."""
    chosen = np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int)
    return [items[place] for place in chosen]


def _read_rows(dataset: StoredDataset, rows: Iterable[int]) -> Iterator[Content]:
    with open_images(dataset.index.source.folder) as reader:
        for row in rows:
            try:
                yield reader.read(dataset.index.paths[row])
            except UnreadableImageError as error:
                yield error  # gone since it was indexed


def _read_groups(groups: Sequence[ImageGroup], limit: int) -> Iterator[Content]:
    """Images at equal distances among those of all groups."""
    chosen = _spread(range(sum(len(group.names) for group in groups)), limit)
    first = 0
    for group in groups:
        n = len(group.names)
        places = [place - first for place in chosen if first <= place < first + n]
        if places:
            yield from _read_group(group, places)
        first += n


def _read_group(group: ImageGroup, places: Sequence[int]) -> Iterator[Content]:
    """The images of a group at some places, in order."""
    names = [group.names[place] for place in places]
    if all(Path(name).is_file() for name in names):
        return image_files(names).contents()  # without reading a whole folder for some images
    wanted = set(places)
    read = islice(group.contents(), places[-1] + 1)
    return (content for place, content in enumerate(read) if place in wanted)


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
    if (found := foreign_file(folder)) is not None:
        raise InvalidInputError(
            f"{folder} has {found!r:.300}, which no export writes: --overwrite would remove it; move it "
            "elsewhere, or choose another name"
        )
    if any(folder.iterdir()) and not is_export(folder):
        raise InvalidInputError(
            f"{folder} holds other files than an export (no {CONFIG_FILE} of clip-adapter): it is not "
            "replaced; choose another name"
        )
    return folder
