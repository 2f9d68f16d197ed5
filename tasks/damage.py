"""What a flow does about a file that cannot be trusted."""

from feature_cache import FeatureCacheError, Location, set_aside
from tasks.progress import say

__all__ = ["set_aside_and_say"]


def set_aside_and_say(path: Location, error: FeatureCacheError) -> None:
    """Rename the file so that nobody reads it, and say which it was and why.

    Only for work that makes again what the file held.
    """
    set_aside(path, error)
    say(f"set aside: {error}")
