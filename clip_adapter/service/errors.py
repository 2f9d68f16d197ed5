"""What goes wrong when a server and a worker are brought up or ended."""

from clip_adapter.errors import ClipAdapterError

__all__ = ["ServiceError"]


class ServiceError(ClipAdapterError, RuntimeError):
    """The server, the worker or a step of their setting up does not do what it should."""
