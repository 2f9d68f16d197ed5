"""The text tower of the encoder a dataset was encoded with."""

from clip_adapter.encoders import EncoderError, load_encoder, text_tower
from clip_adapter.methods import TextTower
from tasks.references import EncodedDataset, Encoding

__all__ = ["load_text_tower"]


def load_text_tower(encoded: EncodedDataset, encoding: Encoding) -> TextTower | None:
    """Load it once more; None for imported features, whose encoder is elsewhere.

    Raises:
        EncoderError: the model is no longer the one that encoded the dataset.
    """
    if encoded.dataset.is_imported:
        return None
    encoder = load_encoder(
        encoding.model_name,
        device=encoding.device,
        precision=encoding.precision,
        resize=encoding.resize,
    )
    if encoder.fingerprint != encoded.encoder:
        message = (
            f"{encoding.model_name} is now encoder {encoder.fingerprint[:12]}, the images were "
            f"encoded by {encoded.encoder[:12]}: extract them again"
        )
        raise EncoderError(message)
    return text_tower(encoder)
