"""Published files of weights, recognised by the digests in open_clip's table of addresses."""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

_WHOLE = re.compile(r"/([0-9a-f]{64})/")  # openaipublic: a component of the path
_BEGINNING = re.compile(r"mlfoundations/.*-([0-9a-f]{8})\.\w+$")  # end of the file's name


def published_as(sha256: str) -> tuple[str, str] | None:
    """Architecture and tag of the published file with this digest; None if there is none.

    Of two architectures with the same tag it is the one with the activation function that the
    weights were trained with: for OpenAI's files `ViT-B-32-quickgelu` rather than `ViT-B-32`. Where only
    the first eight digits are published, they suffice to recognise a file, not to trust it.

    Args:
        sha256: digest of the file, 64 hexadecimal digits.
    """
    import open_clip

    for architecture, tag in open_clip.list_pretrained():
        config = open_clip.get_pretrained_cfg(architecture, tag)
        digest = _digest_in(config.get("url", ""))
        if not digest or not sha256.startswith(digest):
            continue
        if bool(config.get("quick_gelu")) == uses_quick_gelu(architecture):
            return architecture, tag
    return None


def is_openai(sha256: str) -> bool:
    """Whether OpenAI published a file with exactly this digest."""
    import open_clip

    urls = [open_clip.get_pretrained_url(*each) for each in open_clip.list_pretrained()]
    return len(sha256) == 64 and sha256 in {_digest_in(url) for url in urls}


def uses_quick_gelu(architecture: str) -> bool:
    """Whether an architecture of open_clip has QuickGELU as its activation function."""
    import open_clip

    return bool(open_clip.get_model_config(architecture).get("quick_gelu"))


def digest_file(path: Path) -> str:
    """SHA-256 of a file; one that did not change since is not read again."""
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _digest(path: Path, _size_bytes: int, _modified_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest_in(url: str) -> str:
    """The digest, whole or its first eight digits, that an address promises; empty if none."""
    found = _WHOLE.search(url) or _BEGINNING.search(url)
    return found[1] if found else ""
