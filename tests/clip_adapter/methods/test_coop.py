"""CoOp: prompts that are learned, through a tower that is not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from clip_adapter.methods import CoOp, DataError, FewShotTask, TextTower
from clip_adapter.methods.fitting.coop import Contexts, context_of_words
from clip_adapter.training import SettingsError, TrainingSettings

MakeTask = Callable[..., FewShotTask]
TWENTY = TrainingSettings(epochs=20, batch_size=4, learning_rate=0.1, optimizer="sgd")


def tower_of(task: FewShotTask) -> TextTower:
    assert task.text_tower is not None
    return task.text_tower


def encoded(tower: TextTower, *prompts: str) -> torch.Tensor:
    return tower.encode(*tower.embed(prompts))


def test_words_as_context_read_as_the_words(make_task: MakeTask) -> None:
    tower = tower_of(make_task())
    words = context_of_words("a photo of a", tower)
    prompts = Contexts.around(["cat", "red dog"], tower, n_context=4, class_position="end")
    found = prompts.prototypes(words[None, None])[0]
    expected = encoded(tower, "a photo of a cat.", "a photo of a red dog.")
    torch.testing.assert_close(found, expected)  # the same sums, perhaps in another order


def test_in_the_middle_half_of_the_words_follow_the_class(make_task: MakeTask) -> None:
    tower = tower_of(make_task())
    words = context_of_words("a photo looks good", tower)
    prompts = Contexts.around(["cat", "red dog"], tower, n_context=4, class_position="middle")
    found = prompts.prototypes(words[None, None])[0]
    expected = encoded(tower, "a photo cat looks good.", "a photo red dog looks good.")
    torch.testing.assert_close(found, expected)


def test_each_class_may_have_words_of_its_own(make_task: MakeTask) -> None:
    tower = tower_of(make_task())
    contexts = torch.stack([context_of_words(words, tower) for words in ("a big", "my old")])
    prompts = Contexts.around(["cat", "dog"], tower, n_context=2, class_position="end")
    found = prompts.prototypes(contexts[None])[0]
    torch.testing.assert_close(found, encoded(tower, "a big cat.", "my old dog."))


def plain_loop(task: FewShotTask, words: str, training: TrainingSettings) -> np.ndarray:
    """CoOp for one task as one would write it in an afternoon; the prototypes it ends in."""
    tower = tower_of(task)
    context = context_of_words(words, tower)[None, None].clone().requires_grad_()
    prompts = Contexts.around(
        task.class_names, tower, n_context=len(words.split()), class_position="end"
    )
    optimizer = torch.optim.SGD([context], lr=1.0, momentum=0.9, weight_decay=5e-4)
    images = torch.tensor(task.train_features)
    images = images / images.norm(dim=1, keepdim=True)
    labels = torch.tensor(task.train_labels)
    visits = torch.Generator().manual_seed(task.seed)
    assert training.epochs is not None
    assert training.batch_size is not None
    for epoch in range(training.epochs):
        cosine = (1 + np.cos(np.pi * (epoch - 1) / training.epochs)) / 2
        rate = 1e-5 if epoch == 0 else 0.1 * float(cosine)
        for batch in torch.randperm(len(images), generator=visits).split(training.batch_size):
            optimizer.param_groups[0]["lr"] = rate
            prototypes = prompts.prototypes(context)[0]
            prototypes = prototypes / prototypes.norm(dim=1, keepdim=True)
            scores = task.logit_scale * images[batch] @ prototypes.T
            optimizer.zero_grad()
            torch.autograd.backward(torch.nn.functional.cross_entropy(scores, labels[batch]))
            optimizer.step()
    with torch.no_grad():
        return prompts.prototypes(context)[0].numpy()


def test_it_ends_where_a_plain_loop_ends(make_task: MakeTask) -> None:
    task = make_task(shots=4)
    (fitted,) = CoOp(context_init="a photo of", training=TWENTY).fit([task])
    classifier: Any = fitted.classifier
    # Sixty steps of float32, batched otherwise.
    np.testing.assert_allclose(
        classifier.class_prototypes, plain_loop(task, "a photo of", TWENTY), rtol=1e-3, atol=1e-3
    )
    assert fitted.loss_curve[-1] < fitted.loss_curve[0]
    assert (fitted.settings["n_context"], fitted.settings["context_init"]) == (3, "a photo of")


@pytest.mark.parametrize("contexts", [{}, {"class_specific": True}, {"views": 2}])
@pytest.mark.parametrize("class_position", ["end", "middle"])
def test_every_form_learns_from_its_shots(
    make_task: MakeTask, contexts: dict[str, Any], class_position: Any
) -> None:
    task = make_task(shots=8)
    viewed = replace(task, train_views=np.stack([task.train_features, 2 * task.train_features]))
    fast = TrainingSettings(recipe="fast", epochs=30, learning_rate=0.05)
    method = CoOp(n_context=4, class_position=class_position, training=fast, **contexts)
    (fitted,) = method.fit([viewed])
    assert fitted.loss_curve[-1] < 0.95 * fitted.loss_curve[0]


def test_many_tasks_are_split_into_batches_the_memory_holds(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray
) -> None:
    tasks = [make_task(seed=seed) for seed in range(3)]
    method = CoOp(n_context=2, training=TrainingSettings(epochs=5))
    together = method.fit(tasks)
    monkeypatch.setattr("clip_adapter.methods.coop.PROMPTS_AT_ONCE", 1)
    reported: list[float] = []
    for one, other in zip(together, method.fit(tasks, progress=reported.append), strict=True):
        np.testing.assert_allclose(
            one.classifier.logits(pictures), other.classifier.logits(pictures), atol=1e-4
        )
    assert sum(reported) == pytest.approx(1.0)


def test_a_task_without_a_text_tower_says_what_to_do(make_task: MakeTask) -> None:
    with pytest.raises(DataError, match=r"and this task has none, .*: train on images, or leave"):
        CoOp().fit([replace(make_task(), text_tower=None)])


def test_a_prompt_too_long_names_the_class_and_what_would_fit(make_task: MakeTask) -> None:
    task = replace(make_task(), class_names=("cat", "big red dog", "cow"))
    with pytest.raises(
        DataError, match=r"'big red dog' .* of 22 tokens, .* 12: set n_context to 6"
    ):
        CoOp().fit([task])
    CoOp(n_context=6, training=TrainingSettings(epochs=1)).fit([task])


@pytest.mark.parametrize("setting", [{"n_context": 0}, {"views": -1}])
def test_numbers_below_their_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="or more"):
        CoOp(**setting)


@pytest.mark.parametrize(("shots", "rate"), [(4, 5e-3), (5, 1e-2)])
def test_the_fast_recipe_takes_smaller_steps_with_four_shots_or_fewer(
    make_task: MakeTask, shots: int, rate: float
) -> None:
    training = TrainingSettings(recipe="fast", epochs=1)
    (fitted,) = CoOp(n_context=2, training=training).fit([make_task(shots=shots)])
    assert fitted.settings["learning_rate"] == rate
