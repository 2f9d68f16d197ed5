"""A frozen image and text tower behind two functions."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clip_adapter.encoders.features import can_be_normalised
from clip_adapter.encoders.fingerprint import EncoderIdentity
from clip_adapter.encoders.forward_pass import Batches, PrecisionPolicy
from clip_adapter.encoders.preprocessing import Preprocessing
from clip_adapter.encoders.prompts import tokenize_whole
from clip_adapter.errors import EncoderError
from clip_adapter.images import Geometry


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A frozen CLIP that maps images and prompts to raw features.

    Every batch is padded to one size, because a matrix product of another size may round
    otherwise: so a feature does not depend on the images that happened to be encoded with it.

    Attributes:
        name: name of the model as requested.
        identity: fields that make two encoders equal.
        logit_scale: CLIP's learned inverse temperature, exponentiated.
        logit_bias: constant that a sigmoid model (SigLIP) adds to every logit, so that
            `sigmoid(logit_scale * cos + logit_bias)` is a probability; None where it has none.
        context_length: number of tokens a prompt may have, start and end included.
        device: device of the towers.
        preprocessing: geometry and normalisation of the pixels.
        precision: numeric format of the forward pass and of the features.
        batches: size of the batches, which shrinks when the memory runs out.
        model: open_clip's model.
        tokenizer: open_clip's tokenizer of the model.
        notes: sentences for the user about what was assumed, changed or taken from elsewhere.
    """

    name: str
    identity: EncoderIdentity
    logit_scale: float
    context_length: int
    device: torch.device
    preprocessing: Preprocessing
    precision: PrecisionPolicy
    batches: Batches
    model: Any  # CLIP, CustomTextCLIP or CoCa: open_clip gives them no common base
    tokenizer: Callable[..., Tensor]
    notes: tuple[str, ...] = ()
    logit_bias: float | None = None

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the encoder, a part of the identity of its features."""
        return self.identity.fingerprint

    @property
    def geometry(self) -> Geometry:
        """Geometry of the pixels that `encode_images` takes."""
        return self.preprocessing.geometry

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens that the text tower has an embedding of."""
        size = int(getattr(self.model, "text", self.model).vocab_size)
        return size or sys.maxsize  # open_clip's 0 says that it is not known

    @property
    def batch_size(self) -> int:
        """Current number of images or prompts in a forward pass."""
        return self.batches.size

    def encode_images(
        self, pixels: UInt8[np.ndarray, "n h w 3"] | UInt8[Tensor, "n h w 3"]
    ) -> Float[np.ndarray, "n d"]:
        """Raw image features of `geometry`'s pixels, before normalisation.

        They are float32; those of an fp16 encoder are float16.

        Raises:
            EncoderError: a single image does not fit into memory, or fp16 overflows in this model.
        """
        return self._encode(self._image_features, torch.as_tensor(pixels))

    def encode_prompts(self, prompts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Raw text features, before normalisation.

        Raises:
            EncoderError: a prompt has too many tokens or an unknown one, a single one does not fit
                into memory, fp16 overflows in this model, or a feature is zero or not finite.
        """
        tokens = tokenize_whole(
            self.tokenizer,
            prompts,
            context_length=self.context_length,
            vocabulary_size=self.vocabulary_size,
            model=self.name,
        )
        # CoCa normalises by default.
        features = self._encode(partial(self.model.encode_text, normalize=False), tokens)
        useless = np.flatnonzero(~can_be_normalised(features))
        if len(useless):
            raise EncoderError(
                f"{self.name} makes zero, infinity or NaN of {len(useless)} of {len(prompts)} prompts, "
                f"the first is {prompts[useless[0]]!r}: take another precision, or other weights"
            )
        return features

    @torch.inference_mode()
    def _encode(
        self, forward: Callable[[Tensor], Tensor], inputs: Tensor
    ) -> Float[np.ndarray, "n d"]:
        return self.batches.apply(partial(self._on_device, forward), inputs).numpy()

    def _on_device(self, forward: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        with self.precision.autocast(self.device):
            return self.precision.cast_features(forward(batch.to(self.device)))

    def _image_features(self, pixels: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n d"]:
        features: Tensor = self.model.encode_image(
            self.preprocessing.normalise(pixels), normalize=False
        )
        return features
