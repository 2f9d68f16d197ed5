"""What can go wrong when a report is made."""

from clip_adapter.errors import ClipAdapterError

__all__ = ["NothingToReportError", "PageFormatError"]


class NothingToReportError(ClipAdapterError, LookupError):
    """There is no completed run to report on."""


class PageFormatError(ClipAdapterError, ValueError):
    """A file whose name does not say that it is a page of Markdown or HTML."""
