"""Frozen image and text towers, any of open_clip's or the built-in `glyphs`.

Names, errors and identities stand here at once; what loads and encodes is imported, with torch, when
it is asked for.
"""

from typing import TYPE_CHECKING

from clip_adapter.encoders.errors import EncoderError as EncoderError
from clip_adapter.encoders.errors import EncoderMemoryError as EncoderMemoryError
from clip_adapter.encoders.errors import PromptTooLongError as PromptTooLongError
from clip_adapter.encoders.errors import TextTowerError as TextTowerError
from clip_adapter.encoders.fingerprint import EncoderIdentity as EncoderIdentity
from clip_adapter.encoders.fingerprint import FieldDifference as FieldDifference
from clip_adapter.encoders.known_weights import weights_key as weights_key
from clip_adapter.encoders.known_weights import weights_source as weights_source
from clip_adapter.encoders.names import BUILT_IN as BUILT_IN
from clip_adapter.encoders.names import ModelName as ModelName
from clip_adapter.encoders.names import Precision as Precision
from clip_adapter.encoders.names import parse_model_name as parse_model_name
from clip_adapter.encoders.text_tower import text_tower as text_tower
from clip_adapter.lazy import when_asked

if TYPE_CHECKING:
    from clip_adapter.encoders.availability import check_available as check_available
    from clip_adapter.encoders.encoder import Encoder as Encoder
    from clip_adapter.encoders.loading import load_encoder as load_encoder
else:
    __getattr__ = when_asked(
        __name__,
        availability=("check_available",),
        encoder=("Encoder",),
        loading=("load_encoder",),
    )
