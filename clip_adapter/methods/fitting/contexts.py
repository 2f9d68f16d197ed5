"""Prompts with room for context tokens that are learned."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.coop import ClassPosition
from clip_adapter.methods.task import TaskError, TextTower


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """Where the context tokens `[V]1 ... [V]M` stand in each class's prompt.

    Attributes:
        tower: that reads the prompts.
        embeddings: of whole prompts, what stands at the places of the context means nothing.
        tokens: that say where each prompt ends.
        places: of each class's M context tokens.
    """

    tower: TextTower
    embeddings: Float[Tensor, "c length w"]
    tokens: Int[Tensor, "c length"]
    places: Int[Tensor, "c m"]

    @classmethod
    def around(
        cls,
        class_names: Sequence[str],
        tower: TextTower,
        *,
        n_context: int,
        class_position: ClassPosition,
    ) -> "Contexts":
        """Room for the context before the class name, or half of it on each side.

        Raises:
            TaskError: if a prompt is longer than the tower reads, naming the class.
        """
        embeddings, tokens = tower.embed([f"{name}." for name in class_names])
        ends = tower.ends(tokens)
        _check_room(class_names, ends, tower.context_length, n_context)
        _, bare = tower.embed(list(class_names))
        n_before = n_context if class_position == "end" else n_context // 2
        # Where a row of the widened prompt comes from; context places repeat the class name's
        # first token, which ends no prompt.
        sources, places = [], []
        for name_end in tower.ends(bare).tolist():
            behind = list(range(name_end, tokens.shape[1]))
            before, after = [1] * n_before, [1] * (n_context - n_before)
            row = [0, *before, *range(1, name_end), *after, *behind][: tokens.shape[1]]
            after_from = n_before + name_end
            sources.append(row)
            places.append([*range(1, 1 + n_before), *range(after_from, after_from + len(after))])
        rows = torch.tensor(sources, device=tokens.device)
        wide = rows[..., None].expand(-1, -1, embeddings.shape[2])
        return cls(
            tower=tower,
            embeddings=embeddings.gather(1, wide),
            tokens=tokens.gather(1, rows),
            places=torch.tensor(places, device=tokens.device),
        )

    def prototypes(self, contexts: Float[Tensor, "g k m w"]) -> Float[Tensor, "g c d"]:
        """Raw text features of all classes under each model's contexts.

        Args:
            contexts: of each model one that all classes share (k = 1), or one a class (k = c).
        """
        n_models = len(contexts)
        n_classes, length, width = self.embeddings.shape
        shared = contexts.expand(n_models, n_classes, -1, -1)
        where = self.places[None, :, :, None].expand(n_models, -1, -1, width)
        prompts = self.embeddings.expand(n_models, -1, -1, -1).scatter(2, where, shared)
        tokens = self.tokens.repeat(n_models, 1)
        features = self.tower.encode(prompts.reshape(-1, length, width), tokens)
        return features.view(n_models, n_classes, -1)


def context_of_words(words: str, tower: TextTower) -> Float[Tensor, "m w"]:
    """The token embeddings of some words, to start a context from."""
    embeddings, tokens = tower.embed([words])
    return embeddings[0, 1 : int(tower.ends(tokens)[0])].clone()


def context_of_noise(seed: int, owner: str, shape: tuple[int, int]) -> Float[Tensor, "m w"]:
    """Where a context starts: drawn for the class's name, so that the order of classes is none."""
    digest = hashlib.sha256(f"{seed}\0{owner}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return 0.02 * torch.randn(shape, generator=generator)


def _check_room(
    class_names: Sequence[str], ends: Int[Tensor, " c"], limit: int, n_context: int
) -> None:
    longest = int(ends.argmax())
    needed = int(ends[longest]) + 1 + n_context
    if needed > limit:
        fitting = n_context - (needed - limit)
        advice = f"set n_context to {fitting} or less, or shorten" if fitting > 0 else "shorten"
        message = (
            f"{n_context} context tokens and the class name {class_names[longest]!r} make a prompt "
            f"of {needed} tokens, the text tower reads {limit}: "
            f"{advice} the name"
        )
        raise TaskError(message)
