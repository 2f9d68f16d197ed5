"""The points of a grid, trained on one task and judged on the same images."""

from collections.abc import Mapping

from clip_adapter.methods.clip_adapter.trial import Trained
from clip_adapter.methods.method import Candidate, best_candidate, judge
from clip_adapter.methods.task import FewShotTask

__all__ = ["Contest"]


class Contest:
    """Judges models as they come, in any order, and keeps the weights of the best alone.

    Attributes:
        seconds: that all of them took together.
    """

    def __init__(self, task: FewShotTask) -> None:
        self.seconds = 0.0
        self._task = task
        self._tried: dict[int, Candidate] = {}
        self._best: list[Trained] = []

    def enter(self, number: int, trained: Trained, point: Mapping[str, float]) -> None:
        """Judge the model that was trained at that point of the grid."""
        self._tried[number] = judge(trained.classifier, self._task, **point)
        self.seconds += trained.seconds
        if sorted(self._tried)[best_candidate(self.candidates)] == number:
            self._best = [trained]

    @property
    def winner(self) -> Trained:
        """The best of those judged so far; there must be one."""
        return self._best[0]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Everything judged so far, in the order of the grid."""
        return tuple(self._tried[number] for number in sorted(self._tried))
