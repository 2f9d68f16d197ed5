"""From the bytes of a file nobody vouches for to the pixels of a view; Pillow and numpy, no torch."""

from clip_adapter.images.decoding import decode_image
from clip_adapter.images.errors import UnreadableImageError
from clip_adapter.images.reading import FolderReader, read_bytes

__all__ = ["FolderReader", "UnreadableImageError", "decode_image", "read_bytes"]
