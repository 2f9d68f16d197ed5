"""Whether prompts can be learned through the text tower of an encoder."""

from typing import TYPE_CHECKING

from clip_adapter.encoders.errors import TextTowerError

if TYPE_CHECKING:
    from clip_adapter.encoders.encoder import Encoder
    from clip_adapter.encoders.open_clip_tower import OpenClipTextTower


def text_tower(encoder: "Encoder") -> "OpenClipTextTower":
    """The text tower of a loaded encoder.

    Raises:
        TextTowerError: if it is another than open_clip's causal or bidirectional transformer
            read off at the end of the text: a Hugging Face tower, CoCa's, or SigLIP's.
    """
    from clip_adapter.encoders.open_clip_tower import OpenClipTextTower

    parts = getattr(encoder.model, "text", encoder.model)
    needed = ("token_embedding", "positional_embedding", "transformer", "ln_final")
    pool_type = getattr(parts, "pool_type", getattr(parts, "text_pool_type", None))
    plain = getattr(parts, "cls_emb", None) is None and not getattr(parts, "use_pad_mask", False)
    if not (plain and pool_type in {"argmax", "eos"} and all(hasattr(parts, n) for n in needed)):
        message = (
            f"prompts cannot be learned for {encoder.name}: its text tower is a "
            f"{type(parts).__name__} read off at {pool_type!r}; expected open_clip's text "
            "transformer, read off at the end of the text (argmax or eos)"
        )
        raise TextTowerError(message)
    eos_id = getattr(parts, "eos_id", getattr(parts, "text_eos_id", None))
    return OpenClipTextTower(encoder=encoder, parts=parts, pool_type=pool_type, eos_id=eos_id)
