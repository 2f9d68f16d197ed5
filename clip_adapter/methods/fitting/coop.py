"""Fitting of CoOp: prompts with context tokens, and the training of these."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.errors import DataError
from clip_adapter.methods.classifiers import PrototypeClassifier
from clip_adapter.methods.fitting.stacked_tasks import StackedTasks
from clip_adapter.methods.grid_method import Report, Trial, stop_epochs
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.task import FewShotTask, TextTower
from clip_adapter.training import Training, mean_losses, train_stacked


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """Prompts with places for the context tokens `[V]1 ... [V]M` of each class.

    Attributes:
        tower: text tower that encodes the prompts.
        embeddings: token embeddings of the prompts; those at the places of the context are unused.
        tokens: tokens of the prompts, from which the tower finds their ends.
        places: positions of each class's M context tokens.
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
        class_position: Literal["end", "middle"],
    ) -> "Contexts":
        """Prompts with the context before the class name, or half of it on each side.

        Raises:
            DataError: a prompt is longer than the tower takes; the message names the class.
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
            contexts: one context a model that all classes share (k = 1), or one a class (k = c).
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
    """The token embeddings of some words, as an initial context."""
    embeddings, tokens = tower.embed([words])
    return embeddings[0, 1 : int(tower.ends(tokens)[0])].clone()


def context_of_noise(seed: int, owner: str, shape: tuple[int, int]) -> Float[Tensor, "m w"]:
    """An initial context of noise, drawn for the class's name and so independent of their order."""
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
        raise DataError(message)


def fit_together(  # noqa: PLR0913  # what is trained, and how
    trials: Sequence[Trial],
    contexts: Float[Tensor, "g k m w"],
    prompts: Contexts,
    training: Training,
    *,
    views: int,
    report: Report,
) -> Iterator[list[Fitted]]:
    """Learn the contexts of all tasks, which share the batches of the tower, in place."""
    tasks = [trial.task for trial in trials]
    data = StackedTasks.of(tasks, views=views, device=str(contexts.device))
    stops = stop_epochs(trials, training)
    learned, curves = _learn(contexts, prompts, data, training=training, stops=stops, report=report)
    for number, trial in enumerate(trials):
        fitted = []
        for point in trial.points:
            stopped = training.stopping_at(point["length"])
            epochs = stopped.visited_epochs
            classifier = PrototypeClassifier(
                class_prototypes=learned[epochs][number].numpy(),
                logit_scale=trial.task.logit_scale,
                class_names=trial.task.class_names,
            )
            curve = tuple(curves[:epochs, number].tolist())
            fitted.append(
                Fitted(classifier=classifier, settings=stopped.settings(), loss_curve=curve)
            )
        yield fitted


def initial_contexts(
    tasks: list[FewShotTask], tower: TextTower, *, n_context: int, class_specific: bool, words: str
) -> Float[Tensor, "g k m w"]:
    """The contexts of all tasks before the training: of words, or noise where these are empty."""
    owners = tasks[0].class_names if class_specific else ("",)
    if words:
        context = context_of_words(words, tower)
        return context.expand(len(tasks), len(owners), -1, -1).clone()
    shape = (n_context, tower.token_width)
    drawn = [[context_of_noise(task.seed, owner, shape) for owner in owners] for task in tasks]
    contexts = torch.stack([torch.stack(each) for each in drawn])
    return contexts.to(tower.embed(["."])[0].device)


def _learn(  # noqa: PLR0913  # what is trained, and how
    contexts: Float[Tensor, "g k m w"],
    prompts: Contexts,
    data: StackedTasks,
    *,
    training: Training,
    stops: Sequence[int],
    report: Report,
) -> tuple[dict[int, Float[Tensor, "g c d"]], Float[Tensor, "e g"]]:
    """Train the contexts in place.

    Returns:
        The prototypes after each number of epochs in `stops`, and the losses of each epoch, on the CPU.
    """
    contexts.requires_grad_()
    learned: dict[int, Float[Tensor, "g c d"]] = {}

    def losses(rows: Int[Tensor, "g b"]) -> Float[Tensor, " g"]:
        directions, labels = data.batch(rows)
        prototypes = torch.nn.functional.normalize(prompts.prototypes(contexts), dim=-1)
        scores = data.logit_scale * directions @ prototypes.transpose(1, 2)
        return mean_losses(scores, labels)

    @torch.no_grad()
    def keep(epoch: int) -> None:
        if epoch in stops:
            learned[epoch] = prompts.prototypes(contexts).cpu()

    until = replace(training, stopped_epoch=max(stops))
    curves = train_stacked([contexts], losses, until, sets=data, progress=report, after_epoch=keep)
    return learned, curves.cpu()
