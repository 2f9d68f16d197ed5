"""Names of artifacts, as Prefect takes them."""

import hashlib
import re

__all__ = ["artifact_key"]

LONGEST_KEY = 80


def artifact_key(*words: str) -> str:
    """A key of lower-case letters, digits and dashes.

    >>> artifact_key("progress", "encoding with ViT-B-32:openai")
    'progress-encoding-with-vit-b-32-openai'
    """
    text = " ".join(words)
    plain = re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")
    if len(plain) <= LONGEST_KEY:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: LONGEST_KEY - 9]}-{digest}"
