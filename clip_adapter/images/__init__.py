"""From the bytes of a file nobody vouches for to the pixels of a view; Pillow and numpy, no torch."""

from clip_adapter.images.augmentations import Augmentation, augmented_views
from clip_adapter.images.decoding import decode_image
from clip_adapter.images.errors import ChangedImageError, UnreadableImageError, ViewError
from clip_adapter.images.loading import LoadedViews, WantedViews, load_ahead
from clip_adapter.images.reading import FolderReader, read_bytes
from clip_adapter.images.views import Geometry, Interpolation, ResizeMode

__all__ = [
    "Augmentation",
    "ChangedImageError",
    "FolderReader",
    "Geometry",
    "Interpolation",
    "LoadedViews",
    "ResizeMode",
    "UnreadableImageError",
    "ViewError",
    "WantedViews",
    "augmented_views",
    "decode_image",
    "load_ahead",
    "read_bytes",
]
