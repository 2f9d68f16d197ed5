"""Vega-Lite as one script, which a page contains."""

import hashlib
import os
import re
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import vl_convert

from feature_cache import storage

_DIGEST = re.compile(r"[0-9a-f]{64}")


def vega_script() -> str:
    """Vega, Vega-Lite and vega-embed as JavaScript, which sets `vegaEmbed`.

    To put it together takes more than a second, so it is kept in the user's cache folder, under a name with its
    digest, which is compared when it is read.
    """
    try:
        folder = _cache_folder()
    except RuntimeError:  # a user without a home folder, as in some containers
        return _put_together()
    beginning = f"vega-{version('vl-convert-python')}-"
    with suppress(OSError):
        for path in sorted(folder.glob(f"{beginning}*.js")):
            digest = path.stem.removeprefix(beginning)
            content = path.read_bytes()
            if _DIGEST.fullmatch(digest) and hashlib.sha256(content).hexdigest() == digest:
                return content.decode()
    script = _put_together()
    content = script.encode()
    with suppress(OSError):  # a page does not need the cache
        name = f"{beginning}{hashlib.sha256(content).hexdigest()}.js"
        storage.write_atomic(folder / name, pa.py_buffer(content))
    return script


def _put_together() -> str:
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "clip-adapter"
