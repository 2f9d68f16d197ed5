"""A frozen image and text tower behind two functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clip_adapter.encoders.arithmetic import Arithmetic
from clip_adapter.encoders.batches import Batches
from clip_adapter.encoders.fingerprint import EncoderIdentity
from clip_adapter.encoders.preprocessing import Preprocessing
from clip_adapter.encoders.prompts import tokenize_whole
from clip_adapter.images import Geometry


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A frozen CLIP: pictures and prompts in, raw features out.

    Every batch is filled up to one size, because a matrix product of another size may round
    otherwise: so a feature does not depend on the pictures that happened to be encoded with it.

    Attributes:
        name: as the user spelled it.
        identity: what makes two encoders the same.
        logit_scale: CLIP's learned inverse temperature, exponentiated.
        context_length: tokens a prompt may have, start and end included.
        device: where the towers live.
        preprocessing: from pictures to what the image tower reads.
        arithmetic: the number format of the forward pass and of the features.
        batches: of how many rows; shrinks when the memory runs out.
    """

    name: str
    identity: EncoderIdentity
    logit_scale: float
    context_length: int
    device: torch.device
    preprocessing: Preprocessing
    arithmetic: Arithmetic
    batches: Batches
    model: Any  # CLIP, CustomTextCLIP or CoCa: open_clip gives them no common base
    tokenizer: Callable[..., Tensor]

    @property
    def fingerprint(self) -> str:
        """The encoder's part of a feature's identity."""
        return self.identity.fingerprint

    @property
    def geometry(self) -> Geometry:
        """How a picture becomes the pixels of `encode_images`; may travel to other processes."""
        return self.preprocessing.geometry

    @property
    def batch_size(self) -> int:
        """Pictures or prompts a forward pass, as it is now."""
        return self.batches.size

    def encode_images(
        self, pixels: UInt8[np.ndarray, "n h w 3"] | UInt8[Tensor, "n h w 3"]
    ) -> Float[np.ndarray, "n d"]:
        """Raw image features of `geometry`'s pixels, before normalisation.

        float32; of an fp16 encoder float16.

        Raises:
            EncoderMemoryError: a single picture does not fit into memory.
            EncoderError: fp16 overflows in this model.
        """
        return self._encode(self._image_features, torch.as_tensor(pixels))

    def encode_prompts(self, prompts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Raw text features, before normalisation.

        Raises:
            PromptTooLongError: naming the first prompt that would be cut.
            EncoderMemoryError: a single prompt does not fit into memory.
            EncoderError: fp16 overflows in this model.
        """
        tokens = tokenize_whole(
            self.tokenizer, prompts, context_length=self.context_length, model=self.name
        )
        # CoCa normalises unless it is told not to.
        return self._encode(partial(self.model.encode_text, normalize=False), tokens)

    @torch.inference_mode()
    def _encode(
        self, forward: Callable[[Tensor], Tensor], inputs: Tensor
    ) -> Float[np.ndarray, "n d"]:
        def on_device(batch: Tensor) -> Tensor:
            with self.arithmetic.active(self.device):
                return self.arithmetic.finish(forward(batch.to(self.device)))

        return self.batches.apply(on_device, inputs).numpy()

    def _image_features(self, pixels: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n d"]:
        features: Tensor = self.model.encode_image(
            self.preprocessing.normalise(pixels), normalize=False
        )
        return features
