"""What can go wrong on the way to a loaded encoder."""

from clip_adapter.errors import ClipAdapterError


class EncoderError(ClipAdapterError, RuntimeError):
    """An encoder that cannot be loaded or used as asked."""


class MissingWeightsError(EncoderError, FileNotFoundError):
    """No weights are where the model name says they are."""

    def __new__(cls, *args: object) -> "MissingWeightsError":  # noqa: PYI034  # beartype knows no Self here
        """As an OSError is made: a cluster makes it so anew, and RuntimeError's way is none."""
        return OSError.__new__(cls, *args)


class NoNetworkError(EncoderError, ConnectionError):
    """The weights have to be downloaded and the host does not answer."""

    def __new__(cls, *args: object) -> "NoNetworkError":  # noqa: PYI034  # beartype knows no Self here
        """See `MissingWeightsError`."""
        return OSError.__new__(cls, *args)


class EncoderMemoryError(EncoderError, MemoryError):
    """Not even a batch of one fits into the memory of the device."""


class PromptTooLongError(EncoderError, ValueError):
    """A prompt with more tokens than the text tower reads."""


class TextTowerError(EncoderError, ValueError):
    """A text tower that cannot be entered at its token embeddings."""
