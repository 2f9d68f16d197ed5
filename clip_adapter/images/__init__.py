"""From the bytes of a file nobody vouches for to the pixels of a view; Pillow and numpy, no torch."""

from clip_adapter.images.decoding import decode_image, read_bytes
from clip_adapter.images.errors import UnreadableImageError

__all__ = ["UnreadableImageError", "decode_image", "read_bytes"]
