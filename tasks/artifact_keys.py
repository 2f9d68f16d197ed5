"""Names of artifacts, as Prefect takes them."""

import hashlib
import re

__all__ = ["artifact_key"]

LONGEST_KEY = 80


def artifact_key(*words: str) -> str:
    """A key of lower-case letters, digits and dashes.

    Different words have different keys: what a key cannot say stands in eight digits behind it.

    >>> artifact_key("leaderboard", "eurosat"), artifact_key("leaderboard", "my_cats")
    ('leaderboard-eurosat', 'leaderboard-my-cats-7c450330')
    """
    text = " ".join(words)
    plain = re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")
    if plain == text.replace(" ", "-") and len(plain) <= LONGEST_KEY:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: LONGEST_KEY - 9]}-{digest}"
