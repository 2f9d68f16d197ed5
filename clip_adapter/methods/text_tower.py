"""What a method that learns prompts needs of a text encoder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:  # a protocol is not called; its shapes are documentation
    from jaxtyping import Float, Int
    from torch import Tensor


@runtime_checkable
class TextTower(Protocol):
    """A frozen text tower that takes token embeddings, so that some of them may be learned."""

    @property
    def context_length(self) -> int:
        """Tokens a prompt may have, start and end included."""
        ...

    @property
    def token_width(self) -> int:
        """Width w of a token's embedding."""
        ...

    def embed(
        self, prompts: Sequence[str]
    ) -> "tuple[Float[Tensor, 'n length w'], Int[Tensor, 'n length']]":
        """Token embeddings of whole prompts, and the tokens they belong to."""
        ...

    def ends(self, tokens: "Int[Tensor, 'n length']") -> "Int[Tensor, ' n']":
        """Where each prompt ends; behind it there is padding."""
        ...

    def encode(
        self, embeddings: "Float[Tensor, 'n length w']", tokens: "Int[Tensor, 'n length']"
    ) -> "Float[Tensor, 'n d']":
        """Raw text features; differentiable in the embeddings, the tower's weights are frozen.

        The tokens only say where a prompt ends.
        """
        ...
