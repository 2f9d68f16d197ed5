"""Sums of features that are edited a thousand times against sums that are computed anew."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from clip_adapter.errors import DataError
from clip_adapter.methods import Gda, RidgeToText
from clip_adapter.methods.fitting.class_moments import ClassMoments, unit_rows
from clip_adapter.methods.moments_method import MomentsMethod

WIDTH, SCALE, N_EDITS = 24, 100.0, 1_000
METHODS: dict[str, tuple[MomentsMethod, dict[str, float]]] = {
    "ridge-to-text": (RidgeToText(), {"penalty": 0.03}),
    "gda": (Gda(), {"alpha": 1.0}),
}


def random_features(seed: int, n: int) -> np.ndarray:
    # As those of CLIP, features are close to one another.
    noise = np.random.default_rng(seed).normal(size=(n, WIDTH))
    return unit_rows((1.0 + noise).astype(np.float32))


@dataclass
class Editor:
    """Random edits of labelled features, of sums beside a list."""

    generator: np.random.Generator
    moments: ClassMoments
    features: list[np.ndarray] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    n_emptied: int = 0

    @classmethod
    def start(cls, seed: int, n_classes: int = 4) -> "Editor":
        moments = ClassMoments.of(np.zeros((0, WIDTH)), np.zeros(0, np.int64), n_classes)
        editor = cls(np.random.default_rng(seed), moments)
        for label in range(n_classes):
            editor.add(label, 2**label)  # unbalanced: 1, 2, 4, 8
        return editor

    @property
    def n_classes(self) -> int:
        return len(self.moments.counts)

    def add(self, label: int, n: int) -> None:
        rows = random_features(int(self.generator.integers(2**32)), n)
        self.moments = self.moments.add(rows, np.full(n, label))
        self.features += list(rows)
        self.labels += [label] * n

    def remove(self, places: list[int]) -> None:
        rows = np.array([self.features[place] for place in places]).reshape(-1, WIDTH)
        self.moments = self.moments.remove(rows, np.array([self.labels[p] for p in places], int))
        for place in sorted(places, reverse=True):
            del self.features[place], self.labels[place]

    def relabel(self, place: int) -> None:
        row, label = self.features[place][None], int(self.generator.integers(self.n_classes))
        self.moments = self.moments.remove(row, np.array([self.labels[place]]))
        self.moments = self.moments.add(row, np.array([label]))
        self.labels[place] = label

    def empty(self, label: int) -> None:
        self.remove([place for place, each in enumerate(self.labels) if each == label])
        self.n_emptied += 1

    def remove_class(self, label: int) -> None:
        self.empty(label)
        self.moments = self.moments.remove_class(label)
        self.labels = [each - (each > label) for each in self.labels]

    def edit(self) -> None:
        kinds = ["add", "remove", "relabel", "empty", "more classes", "fewer classes"]
        kind = self.generator.choice(kinds, p=[0.4, 0.25, 0.25, 0.02, 0.04, 0.04])
        label = int(self.generator.integers(self.n_classes))
        if kind == "add":
            self.add(label, int(self.generator.integers(1, 4)))
        elif kind == "more classes":
            self.moments = self.moments.add_classes(1)
            self.add(self.n_classes - 1, 1)
        elif kind == "empty":
            self.empty(label)
        elif kind == "fewer classes" and self.n_classes > 2:
            self.remove_class(label)
        elif self.labels:
            place = int(self.generator.integers(len(self.labels)))
            self.relabel(place) if kind == "relabel" else self.remove([place])

    def anew(self) -> ClassMoments:
        rows = np.array(self.features).reshape(-1, WIDTH)
        return ClassMoments.of(rows, np.array(self.labels, int), self.n_classes)


def logits_of(
    method: MomentsMethod, point: dict[str, float], moments: ClassMoments, pictures: np.ndarray
) -> np.ndarray:
    text = random_features(1, 400)[: len(moments.counts)]
    ((weight, bias),) = method.weights(moments, text, logit_scale=SCALE, points=[point])
    logits: np.ndarray = pictures @ weight.T + bias
    return logits


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", METHODS)
def test_a_thousand_edits_give_the_logits_of_a_new_fit(name: str, seed: int) -> None:
    method, point = METHODS[name]
    editor, pictures = Editor.start(seed), random_features(2, 20)
    worst, n_compared, largest = 0.0, 0, 0
    for _ in range(N_EDITS):
        editor.edit()
        largest = max(largest, len(editor.labels))
        if name == "gda" and not editor.moments.counts.all():
            with pytest.raises(DataError, match="have no feature"):
                logits_of(method, point, editor.moments, pictures)
            continue
        edited = logits_of(method, point, editor.moments, pictures)
        worst = max(worst, abs(edited - logits_of(method, point, editor.anew(), pictures)).max())
        n_compared += 1
    assert worst <= 1e-8  # logits reach 100
    assert n_compared > N_EDITS / 4  # GDA needs an image of each class
    assert editor.n_emptied > 10
    anew = editor.anew()
    np.testing.assert_array_equal(editor.moments.counts, anew.counts)
    np.testing.assert_array_equal(editor.moments.gram, editor.moments.gram.T)
    # An edit is of a label at most: a removal and an addition of up to `largest` features.
    bound = 2.0**-52 * largest * 2 * N_EDITS
    assert np.linalg.norm(editor.moments.gram - anew.gram) <= bound


def test_an_empty_class_has_no_trace_of_its_features() -> None:
    rows = np.random.default_rng(3).normal(size=(9, WIDTH))  # sums of single precision are exact
    held = ClassMoments.of(rows, np.arange(9) % 2, 2)
    for place in range(0, 9, 2):  # one by one, which rounds otherwise than their sum
        held = held.remove(rows[place : place + 1], np.array([0]))
    np.testing.assert_array_equal(held.sums[0], 0)
    for place in range(1, 9, 2):
        held = held.remove(rows[place : place + 1], np.array([1]))
    assert not held.gram.any()
    assert not held.sums.any()


def test_what_is_not_there_is_not_removed() -> None:
    rows = random_features(4, 3)
    held = ClassMoments.of(rows, np.array([0, 1, 1]), 2)
    with pytest.raises(DataError, match="2 features are to be removed from class 0, which holds 1"):
        held.remove(rows[:2], np.array([0, 0]))
    with pytest.raises(DataError, match="labels run from 0 to 2: expected 0 to 1"):
        held.add(rows[:2], np.array([0, 2]))
    with pytest.raises(DataError, match="class 1 holds 2 features: remove them first"):
        held.remove_class(1)
    with pytest.raises(DataError, match="there is no class 2: expected 0 to 1"):
        held.remove_class(2)


def test_edits_return_copies() -> None:
    rows = random_features(5, 3)
    held = ClassMoments.of(rows, np.array([0, 1, 1]), 2)
    before = replace(held, counts=held.counts.copy(), sums=held.sums.copy(), gram=held.gram.copy())
    held.add(rows, np.array([0, 0, 0])).add_classes(1).remove_class(2)
    held.remove(rows[:1], np.array([0]))
    for name in ("counts", "sums", "gram"):
        np.testing.assert_array_equal(getattr(held, name), getattr(before, name))
