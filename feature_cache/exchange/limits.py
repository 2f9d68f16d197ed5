"""How much a reader loads: no more than the memory there is, whatever a small file declares."""

from feature_cache.exchange.errors import InvalidImportError
from feature_cache.memory import available_memory

LARGER = (
    "divide it and import the parts under several names, or import it on a machine with more memory"
)
"""Advice about features that do not fit."""
ROW_BYTES = 1200
"""Memory that a row takes beside its feature: digest, label, path and what the index is made of."""


def byte_limit(max_bytes: int | None) -> int:
    """Limit of all arrays together: `max_bytes`, else three quarters of the available memory.

    The last quarter is for what the import makes of the arrays.
    """
    return available_memory() * 3 // 4 if max_bytes is None else max_bytes


def check_rows(n_rows: int, source: str) -> None:
    """Check that the rows of features fit into memory, however narrow they are.

    Raises:
        InvalidImportError: they do not fit.
    """
    needed, available = n_rows * ROW_BYTES, available_memory()
    if needed > available:
        raise InvalidImportError(
            source,
            f"they have {n_rows:,} rows, for which the import takes {needed:,} bytes of memory "
            f"beside the features, and {available:,} are available: {LARGER}",
        )
