"""One error, naming the file, for whatever a damaged or hostile file makes libraries say."""

import csv
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from feature_cache.errors import FeatureCacheError
from feature_cache.exchange.errors import ForeignFileError, InvalidForeignFeaturesError

# What the standard library, numpy, pyarrow and safetensors raise on bytes they cannot make sense
# of; a fuzz test holds the list.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pa.ArrowException,
    csv.Error,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Read `path` inside this block: all that goes wrong is a ForeignFileError about it.

    Raises:
        ForeignFileError: What was read makes no labelled features, or cannot be read at all.
        FeatureCacheError: The feature cache's own errors pass, since they name the file already.
    """
    try:
        yield
    except InvalidForeignFeaturesError as error:
        raise ForeignFileError(path, error.reason) from error
    except FeatureCacheError:
        raise
    except FileNotFoundError as error:
        raise ForeignFileError(path, f"{error.filename or path} is not there: check it") from error
    except _DAMAGE as error:
        reason = f"it cannot be read ({type(error).__name__}: {error}): copy or write it anew"
        raise ForeignFileError(path, reason) from error
