"""A frozen image and text tower behind two functions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from clip_adapter.encoders.errors import EncoderError
from clip_adapter.encoders.fingerprint import EncoderIdentity

__all__ = ["Encoder", "PromptTooLongError"]


class PromptTooLongError(EncoderError, ValueError):
    """A prompt with more tokens than the text tower reads."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A frozen CLIP: pictures and prompts in, raw features out.

    Every batch is padded to `batch_size`, because a matrix product of another size may round
    otherwise: so a feature does not depend on the pictures that happened to be encoded with it.

    Attributes:
        name: as the user spelled it.
        identity: what makes two encoders the same.
        logit_scale: CLIP's learned inverse temperature, exponentiated.
        context_length: tokens a prompt may have, start and end included.
        device: where the towers live.
    """

    name: str
    identity: EncoderIdentity
    logit_scale: float
    context_length: int
    device: torch.device
    batch_size: int
    model: Any  # CLIP, CustomTextCLIP or CoCa: open_clip gives them no common base
    transform: Callable[[Image.Image], Tensor]
    tokenizer: Callable[..., Tensor]

    @property
    def fingerprint(self) -> str:
        """The encoder's part of a feature's identity."""
        return self.identity.fingerprint

    def preprocess(self, pictures: Sequence[Image.Image]) -> Float[Tensor, "n 3 h w"]:
        """Resize, crop and normalise RGB pictures as the model was trained; runs on the CPU."""
        return torch.stack([self.transform(picture) for picture in pictures])

    def encode_images(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[np.ndarray, "n d"]:
        """Raw image features of preprocessed pictures, before normalisation."""
        channels_last = pixels.to(self.device, memory_format=torch.channels_last)
        return self._in_batches(self.model.encode_image, channels_last)

    def encode_prompts(self, prompts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Raw text features, before normalisation.

        Raises:
            PromptTooLongError: naming the first prompt that would be cut.
        """
        # One place more than the tower has: only a prompt that would be cut fills it.
        ends = self.tokenizer(["", *prompts], context_length=self.context_length + 1)[:, -1]
        for prompt, filled in zip(prompts, (ends[1:] != ends[0]).tolist(), strict=True):
            if filled:
                message = (
                    f"the prompt {prompt!r} has more than the {self.context_length} tokens that "
                    f"{self.name} reads: shorten the class name or the template"
                )
                raise PromptTooLongError(message)
        fitting = self.tokenizer(list(prompts), context_length=self.context_length)
        return self._in_batches(self.model.encode_text, fitting.to(self.device))

    @torch.inference_mode()
    def _in_batches(
        self, encode: Callable[[Tensor], Tensor], inputs: Tensor
    ) -> Float[np.ndarray, "n d"]:
        features = [encode(batch)[:size] for batch, size in self._padded(inputs)]
        return torch.cat(features).float().cpu().numpy()

    def _padded(self, inputs: Tensor) -> Iterator[tuple[Tensor, int]]:
        for first in range(0, len(inputs), self.batch_size):
            batch = inputs[first : first + self.batch_size]
            padding = batch[:1].expand(self.batch_size - len(batch), *batch.shape[1:])
            yield torch.cat([batch, padding]), len(batch)
