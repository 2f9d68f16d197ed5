"""The frozen text tower of an encoder, entered at its token embeddings, to learn prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.encoders.encoder import Encoder
from clip_adapter.encoders.prompt_learning import POOL_TYPES, tower_error
from clip_adapter.encoders.prompts import tokenize_whole


@dataclass(frozen=True, kw_only=True)
class OpenClipTextTower:
    """open_clip's text transformer; gradients flow to the embeddings, its weights are frozen.

    Attributes:
        encoder: the encoder.
        parts: module with the token embedding, the transformer and the projection.
        pool_type: token at which the feature is read off: `argmax`, the one with the highest
            number (CLIP's end of text), or `eos`, the end of the tokenizer.
        eos_id: number of the tokenizer's end, for `eos`.
    """

    encoder: Encoder
    parts: Any
    pool_type: str
    eos_id: int | None

    @property
    def context_length(self) -> int:
        """Tokens a prompt may have, start and end included."""
        return self.encoder.context_length

    @property
    def token_width(self) -> int:
        """Width w of a token's embedding."""
        return int(self.parts.token_embedding.weight.shape[1])

    def embed(
        self, prompts: Sequence[str]
    ) -> tuple[Float[Tensor, "n length w"], Int[Tensor, "n length"]]:
        """Token embeddings of whole prompts, and the tokens they belong to.

        Raises:
            EncoderError: naming the first prompt that would be cut.
        """
        tokens = tokenize_whole(
            self.encoder.tokenizer,
            prompts,
            context_length=self.context_length,
            vocabulary_size=self.encoder.vocabulary_size,
            model=self.encoder.name,
        ).to(self.encoder.device)
        embeddings: Tensor = self.parts.token_embedding(tokens).float()
        return embeddings, tokens

    def ends(self, tokens: Int[Tensor, "n length"]) -> Int[Tensor, " n"]:
        """Position of the end of each prompt, at which its feature is read off."""
        if self.pool_type == "eos":
            return torch.eq(tokens, torch.tensor(self.eos_id)).int().argmax(dim=1)
        return tokens.argmax(dim=1)

    def encode(
        self, embeddings: Float[Tensor, "n length w"], tokens: Int[Tensor, "n length"]
    ) -> Float[Tensor, "n d"]:
        """Raw text features in float32, equal to those of the encoder up to rounding.

        A causal tower ignores tokens behind the end of a prompt, so positions behind the last end of
        all prompts are not computed.
        """
        ends, mask = self.ends(tokens), self.parts.attn_mask
        length = int(ends.max()) + 1 if mask is not None else embeddings.shape[1]
        states = embeddings[:, :length] + self.parts.positional_embedding[:length].float()
        if mask is not None:
            mask = mask[:length, :length]
        states = self.parts.ln_final(self.parts.transformer(states, attn_mask=mask))
        pooled: Tensor = states[torch.arange(len(ends), device=ends.device), ends]
        return self._project(pooled)

    def _project(self, pooled: Float[Tensor, "n w"]) -> Float[Tensor, "n d"]:
        projection = self.parts.text_projection
        if projection is None:
            return pooled
        projected: Tensor = (
            projection(pooled) if isinstance(projection, torch.nn.Linear) else pooled @ projection
        )
        return projected


def text_tower(encoder: Encoder) -> OpenClipTextTower:
    """The text tower of a loaded encoder.

    Raises:
        EncoderError: the tower is not open_clip's causal or bidirectional transformer read off at
            the end of the text, but that of Hugging Face, CoCa, CLIPA or SigLIP.
    """
    parts = getattr(encoder.model, "text", encoder.model)
    needed = ("token_embedding", "positional_embedding", "transformer", "ln_final")
    pool_type = getattr(parts, "pool_type", getattr(parts, "text_pool_type", None))
    plain = getattr(parts, "cls_emb", None) is None and not getattr(parts, "use_pad_mask", False)
    if not (plain and pool_type in POOL_TYPES and all(hasattr(parts, n) for n in needed)):
        raise tower_error(encoder.name, f"a {type(parts).__name__} read off at {pool_type!r}")
    eos_id = getattr(parts, "eos_id", getattr(parts, "text_eos_id", None))
    return OpenClipTextTower(encoder=encoder, parts=parts, pool_type=pool_type, eos_id=eos_id)
