"""Frozen image and text towers, those of open_clip or the built-in `glyphs`.

Names and identities are imported at once; what loads and encodes is imported, with torch, when it is
first used.
"""

from typing import TYPE_CHECKING

from clip_adapter.encoders.features import can_be_normalised as can_be_normalised
from clip_adapter.encoders.fingerprint import EncoderIdentity as EncoderIdentity
from clip_adapter.encoders.fingerprint import FieldDifference as FieldDifference
from clip_adapter.encoders.known_weights import weights_key as weights_key
from clip_adapter.encoders.known_weights import weights_source as weights_source
from clip_adapter.encoders.model_settings import find_settings as find_settings
from clip_adapter.encoders.names import BUILT_IN as BUILT_IN
from clip_adapter.encoders.names import DEFAULT_MODEL as DEFAULT_MODEL
from clip_adapter.encoders.names import HF_HUB as HF_HUB
from clip_adapter.encoders.names import LOCAL_DIR as LOCAL_DIR
from clip_adapter.encoders.names import ModelName as ModelName
from clip_adapter.encoders.names import Precision as Precision
from clip_adapter.encoders.names import parse_model_name as parse_model_name
from clip_adapter.encoders.prompt_learning import check_learns_prompts as check_learns_prompts
from clip_adapter.encoders.prompt_learning import model_config as model_config
from clip_adapter.errors import EncoderError as EncoderError
from clip_adapter.errors import NoNetworkError as NoNetworkError
from clip_adapter.lazy import when_asked

if TYPE_CHECKING:
    from clip_adapter.encoders.availability import ReachabilityCheck as ReachabilityCheck
    from clip_adapter.encoders.availability import check_available as check_available
    from clip_adapter.encoders.availability import hub_offline as hub_offline
    from clip_adapter.encoders.encoder import Encoder as Encoder
    from clip_adapter.encoders.loading import load_encoder as load_encoder
    from clip_adapter.encoders.text_transformer import text_tower as text_tower
else:
    __getattr__ = when_asked(
        __name__,
        availability=("ReachabilityCheck", "check_available", "hub_offline"),
        encoder=("Encoder",),
        loading=("load_encoder",),
        text_transformer=("text_tower",),
    )
