"""What is searched for: a text, an image or a feature, and the feature that an encoder makes of it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from PIL import Image

from clip_adapter.errors import DataError, EncoderError, ImageError, ParameterError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.images import (
    FolderReader,
    UnreadableImageError,
    decode_image,
    has_image_suffix,
    upright_rgb,
)
from clip_adapter.pipeline.encoder_lock import encoder_slot
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.stored_encoders import StoredEncoder
from feature_cache import FeatureStore

QueryKind = Literal["auto", "text", "image"]
"""Whether a query is a text or the path of an image; "auto" takes an existing file for an image."""

Feature = Float[np.ndarray, " d"]
_LONGEST = 1_000
"""Characters of a text; the towers of CLIP read some 77 tokens, and the longest some hundreds."""
_SHOWN = 60


@dataclass(frozen=True)
class QueryEncoder:
    """Makes features of queries: of what is stored without the encoder, which else is loaded once.

    Attributes:
        encoder: the encoder and its stored features.
        encoding: how it is loaded; kept from query to query.
        reporter: where to report that it is loaded.
    """

    encoder: StoredEncoder
    encoding: Encoding
    reporter: Reporter

    @property
    def store(self) -> FeatureStore:
        """The stored features of the encoder."""
        return self.encoder.store

    def of_text(self, text: str) -> Feature:
        """The feature of a text, which is stored among the prompts.

        Raises:
            EncoderError: the features were imported, the model cannot be loaded or changed since, or
                the text is too long for it.
            InvalidInputError: the text is not valid Unicode.
        """
        if self.store.missing_prompts([text]):
            with self._slot(f"the text {_shown(text)}"):
                feature = self._loaded().encode_prompts([text])
            self._store_prompt(text, feature)
            found: Feature = feature[0]
            return found
        stored: Feature = self.store.read_prompts([text])[0]
        return stored

    def of_file(self, content: bytes, path: Path) -> Feature:
        """The feature of an image file; its digest is looked up before it is decoded.

        Raises:
            ImageError: the file is not an image.
            EncoderError: the features were imported, or the model cannot be loaded or changed since.
        """
        digest = hashlib.sha256(content).digest()
        if not self.store.missing_images([digest]):
            stored: Feature = self.store.read_images([digest])[0]
            return stored
        try:
            picture = decode_image(content)
        except UnreadableImageError as error:
            raise ImageError(_no_image(path, error.reason)) from None
        return self.of_picture(picture)

    def of_picture(self, picture: Image.Image) -> Feature:
        """The feature of an upright picture in RGB; raises EncoderError as `of_file`."""
        with self._slot("an image to search for"):
            encoder = self._loaded()
            pixels = encoder.geometry.pixels(picture, image_sha256=b"")
            feature: Feature = encoder.encode_images(pixels[np.newaxis])[0]
        return feature

    def _slot(self, what: str) -> Any:
        if self.encoder.is_imported:
            raise EncoderError(
                f"{what} has no stored feature, and the features of {self.encoder.label} were imported: "
                "no encoder is known that makes others. Search with an image of the dataset or with a "
                "feature of your own, or choose an encoder with --model"
            )
        return encoder_slot(f"{what} with {self.encoder.model}", self.reporter)

    def _loaded(self) -> Any:
        if not self.encoding.is_loaded:
            self.reporter.log(f"loading {self.encoder.model}")
            self.encoding.refuse_other(self.store.encoder)
        return self.encoding.encoder

    def _store_prompt(self, text: str, feature: Float[np.ndarray, "1 d"]) -> None:
        try:
            self.store.append_prompts([text], feature)
        except OSError as error:
            # A store that may only be read can be searched all the same.
            self.reporter.warn(f"the feature of the text is not kept for the next search: {error}")


@dataclass(frozen=True)
class TextQuery:
    """A text to search for.

    Attributes:
        text: the words.
    """

    text: str

    @property
    def description(self) -> str:
        """The query in a few words."""
        return f"the text {_shown(self.text)}"

    def feature(self, encoder: QueryEncoder) -> Feature:
        """The feature of the text; raises as `QueryEncoder.of_text`."""
        return encoder.of_text(self.text)


@dataclass(frozen=True)
class FileQuery:
    """An image file to search for.

    Attributes:
        path: path of the file.
        content: its bytes.
    """

    path: Path
    content: bytes

    @property
    def description(self) -> str:
        """The query in a few words."""
        return f"the image {_shown(self.path.name)}"

    def feature(self, encoder: QueryEncoder) -> Feature:
        """The feature of the image; raises as `QueryEncoder.of_file`."""
        return encoder.of_file(self.content, self.path)


@dataclass(frozen=True)
class PictureQuery:
    """A picture to search for.

    Attributes:
        picture: upright picture in RGB.
    """

    picture: Image.Image

    @property
    def description(self) -> str:
        """The query in a few words."""
        return f"a picture of {self.picture.width} x {self.picture.height} pixels"

    def feature(self, encoder: QueryEncoder) -> Feature:
        """The feature of the picture; raises as `QueryEncoder.of_picture`."""
        return encoder.of_picture(self.picture)


@dataclass(frozen=True)
class FeatureQuery:
    """A feature to search for.

    Attributes:
        vector: the feature, of any length.
    """

    vector: Feature

    @property
    def description(self) -> str:
        """The query in a few words."""
        return f"a feature of width {len(self.vector)}"

    def feature(self, encoder: QueryEncoder) -> Feature:  # noqa: ARG002  # as of the other queries
        """The feature itself."""
        return self.vector


Query = TextQuery | FileQuery | PictureQuery | FeatureQuery


def parse_query(query: Any, *, kind: QueryKind = "auto") -> Query:
    """Tell a text, an image and a feature apart.

    A `str` is the path of an image if there is such a file, else a text. One that looks like a path,
    by the suffix of an image or by slashes without spaces, and names no file is refused.

    Args:
        query: text, path of an image, picture of Pillow, feature as an array `[d]` or `[1, d]`, or a
            parsed query, which is returned.
        kind: "text" or "image" to decide of what a `str` is.

    Raises:
        ParameterError: the query is empty, or the file that it names does not exist.
        ImageError: the file cannot be read.
        DataError: an array is no feature.
    """
    if isinstance(query, Query):
        return query
    if isinstance(query, Image.Image):
        return PictureQuery(_upright(query))
    if isinstance(query, os.PathLike):
        return _file_query(Path(query))
    if not isinstance(query, str):
        return FeatureQuery(_vector(query))
    if not query.strip():
        raise ParameterError("the query is empty: expected some words, or the path of an image")
    if kind == "image" or (kind == "auto" and os.path.isfile(query)):  # noqa: PTH113  # never raises
        return _file_query(Path(query))
    if kind == "auto" and _looks_like_path(query):
        raise ParameterError(
            f"there is no file {_shown(query)}, and it looks like a path: correct the path, or search "
            "for it as a text with --text"
        )
    if len(query) > _LONGEST:
        raise ParameterError(
            f"the query has {len(query):,} characters: expected a text of at most {_LONGEST:,}"
        )
    return TextQuery(query.strip())


def _looks_like_path(text: str) -> bool:
    has_slash = "/" in text or os.sep in text
    starts = text.startswith(("/", "~", "./", "../"))
    is_word = not any(character.isspace() for character in text)
    return starts or (has_slash and is_word) or has_image_suffix(text)


def _file_query(path: Path) -> FileQuery:
    if not os.path.isfile(path):  # noqa: PTH113  # never raises
        found = "is a folder" if os.path.isdir(path) else "does not exist"  # noqa: PTH112  # as above
        raise ParameterError(
            f"the image {_shown(path)} {found}: expected the path of one image file"
        )
    whole = path.resolve()
    try:
        with FolderReader(whole.parent) as reader:
            return FileQuery(path, reader.read(whole.name))
    except UnreadableImageError as error:
        raise ImageError(_no_image(path, error.reason)) from None


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return upright_rgb(picture)
    except UnreadableImageError as error:
        raise ImageError(f"the picture cannot be searched for: {error.reason}") from None


def _vector(query: Any) -> Feature:
    """A feature of numbers as an array `[d]`."""
    try:
        found = np.asarray(query, np.float64)
    except (TypeError, ValueError):
        raise _no_feature(f"a {type(query).__name__}") from None
    if not found.ndim:
        raise _no_feature(f"a {type(query).__name__}")
    if found.shape[:-1] not in ((), (1,)) or not found.size:
        raise _no_feature(f"an array of shape {list(found.shape)}")
    return found.reshape(-1)


def _no_feature(found: str) -> DataError:
    return DataError(
        f"the query is {found}: expected a text, the path of an image, a picture of Pillow, or one "
        "feature as an array of shape [d]"
    )


def _no_image(path: Path, reason: str) -> str:
    return (
        f"{_shown(path)} is not an image that can be searched for: {reason}; name another file, or "
        "search for the words with --text"
    )


def _shown(text: object) -> str:
    """Text in quotes, without control characters, cut if it is long."""
    whole = escape_control_characters(text)
    return f"'{whole if len(whole) <= _SHOWN else whole[:_SHOWN] + '…'}'"
