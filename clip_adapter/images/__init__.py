"""From the bytes of a file nobody vouches for to the pixels of a view; Pillow and numpy, no torch."""

from clip_adapter.images.augmentations import Augmentation, augmented_views
from clip_adapter.images.decoding import decode_image, read_bytes
from clip_adapter.images.errors import UnreadableImageError, ViewError
from clip_adapter.images.views import Geometry, Interpolation, ResizeMode

__all__ = [
    "Augmentation",
    "Geometry",
    "Interpolation",
    "ResizeMode",
    "UnreadableImageError",
    "ViewError",
    "augmented_views",
    "decode_image",
    "read_bytes",
]
