"""The frozen text tower of an encoder, entered at its token embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.encoders.encoder import Encoder
from clip_adapter.encoders.prompts import tokenize_whole


@dataclass(frozen=True, kw_only=True)
class OpenClipTextTower:
    """open_clip's text transformer; gradients flow to the embeddings, its weights are frozen.

    Attributes:
        encoder: whose tower it is.
        parts: the module that holds the token embedding, the transformer and what follows it.
        pool_type: where the feature is read off: at the token with the highest number (CLIP's
            end of text), or at the tokenizer's end.
        eos_id: the number of that end, for the latter.
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
            PromptTooLongError: naming the first prompt that would be cut.
        """
        tokens = tokenize_whole(
            self.encoder.tokenizer,
            prompts,
            context_length=self.context_length,
            model=self.encoder.name,
        ).to(self.encoder.device)
        embeddings: Tensor = self.parts.token_embedding(tokens).float()
        return embeddings, tokens

    def ends(self, tokens: Int[Tensor, "n length"]) -> Int[Tensor, " n"]:
        """Where each prompt ends, which is where its feature is read off."""
        if self.pool_type == "eos":
            return torch.eq(tokens, torch.tensor(self.eos_id)).int().argmax(dim=1)
        return tokens.argmax(dim=1)

    def encode(
        self, embeddings: Float[Tensor, "n length w"], tokens: Int[Tensor, "n length"]
    ) -> Float[Tensor, "n d"]:
        """Raw text features in float32, as the encoder's own up to rounding.

        A causal tower sees no token after the one it is read off at, so positions behind the
        last end of all prompts are not computed.
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
