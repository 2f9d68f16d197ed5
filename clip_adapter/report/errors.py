"""What can go wrong when a report is made."""

from clip_adapter.errors import ClipAdapterError

__all__ = ["NothingToReportError"]


class NothingToReportError(ClipAdapterError, LookupError):
    """There is no completed run to report on."""
