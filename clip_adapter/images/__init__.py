"""From the bytes of an untrusted file to the pixels of a view, with Pillow and numpy."""

from clip_adapter.errors import ImageError as ImageError
from clip_adapter.errors import UnreadableImageError as UnreadableImageError
from clip_adapter.images.decoding import check_header as check_header
from clip_adapter.images.decoding import decode_image as decode_image
from clip_adapter.images.decoding import image_size as image_size
from clip_adapter.images.decoding import upright_rgb as upright_rgb
from clip_adapter.images.formats import image_format as image_format
from clip_adapter.images.loading import LoadedViews as LoadedViews
from clip_adapter.images.loading import WantedViews as WantedViews
from clip_adapter.images.loading import prefetch as prefetch
from clip_adapter.images.reading import AS_IT_IS as AS_IT_IS
from clip_adapter.images.reading import MAX_PIXELS as MAX_PIXELS
from clip_adapter.images.reading import FolderReader as FolderReader
from clip_adapter.images.reading import ReadOptions as ReadOptions
from clip_adapter.images.reading import read_bytes as read_bytes
from clip_adapter.images.views import Augmentation as Augmentation
from clip_adapter.images.views import Geometry as Geometry
from clip_adapter.images.views import Interpolation as Interpolation
from clip_adapter.images.views import ResizeMode as ResizeMode
from clip_adapter.images.views import augmented_views as augmented_views
