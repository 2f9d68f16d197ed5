"""LP++: its start, its steps, and where they lead."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn.functional import cross_entropy, normalize

from clip_adapter.methods import (
    FewShotTask,
    Fitted,
    LinearClassifier,
    LpPlusPlus,
    create_method,
)
from clip_adapter.training import SettingsError

MakeTask = Callable[..., FewShotTask]
WHOLE = (1.0,)


def fit_one(method: LpPlusPlus, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def weight_of(fitted: Fitted) -> np.ndarray:
    assert isinstance(fitted.classifier, LinearClassifier)
    return fitted.classifier.weight


def plain_training(task: FewShotTask, iterations: int, momentum: float) -> np.ndarray:
    """Autograd and torch's optimisers, a class or an image at a time where that is plainer."""
    images = normalize(torch.from_numpy(task.train_features), dim=-1)
    text = torch.from_numpy(task.class_prototypes)
    labels, n = torch.from_numpy(task.train_labels), len(images)
    of_class = [images[labels == number] for number in range(len(text))]
    w = torch.stack([rows.mean(dim=0) for rows in of_class]).requires_grad_()
    cosines = [(rows @ t).mean() for rows, t in zip(of_class, text, strict=True)]
    alpha = (2.5 * task.logit_scale * torch.stack(cosines).mean()).repeat(len(text))
    alpha.requires_grad_()
    curvature = torch.linalg.svdvals(images)[0] ** 2 / (2 * n)
    curvature_of_alpha = max(float(((images @ t) ** 2).sum()) for t in text) / (2 * n)
    of_w = torch.optim.SGD([w], lr=float(2 / curvature), momentum=momentum)
    of_alpha = torch.optim.SGD([alpha], lr=1 / curvature_of_alpha)
    for iteration in range(1, iterations + 1):
        w.grad = alpha.grad = None
        loss = cross_entropy(images @ (w + alpha[:, None] * text).T, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        of_w.step()
        if iteration % 10 == 0:
            of_alpha.step()
    return (w + alpha[:, None] * text).detach().numpy()


@pytest.mark.parametrize(("shots", "momentum"), [(1, 0.9), (4, 0.0), (16, 0.9)])
def test_it_learns_what_autograd_learns(make_task: MakeTask, shots: int, momentum: float) -> None:
    task = make_task(shots=shots)  # with few images, and with more than features are wide
    found = weight_of(fit_one(LpPlusPlus(iterations=25, momentum=momentum, lengths=WHOLE), task))
    # Weights of about 20 in float32, after 25 steps.
    np.testing.assert_allclose(found, plain_training(task, 25, momentum), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("shots", [1, 4, 16])
@pytest.mark.parametrize("alpha_every", [1, 10])
def test_without_momentum_no_step_of_either_block_raises_the_loss(
    make_task: MakeTask, shots: int, alpha_every: int
) -> None:
    method = LpPlusPlus(momentum=0.0, alpha_every=alpha_every, iterations=200, lengths=WHOLE)
    for seed in range(3):
        curve = np.array(fit_one(method, make_task(shots=shots, seed=seed)).loss_curve)
        assert (np.diff(curve) <= 1e-6).all()  # rounding, of losses below 5
        assert curve[-1] < 0.9 * curve[0]


def test_it_nears_the_minimum_that_scipy_finds(make_task: MakeTask) -> None:
    task = make_task(shots=16)
    # Labels that no plane separates: the minimum is at a finite place.
    labels = np.random.default_rng(0).permutation(task.train_labels)
    task = replace(task, train_labels=labels)
    images = task.train_features / np.linalg.norm(task.train_features, axis=1, keepdims=True)

    def loss(flat: np.ndarray) -> float:
        scores = images @ flat.reshape(3, -1).T
        top = scores.max(axis=1)
        log_sums = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
        return float((log_sums - scores[np.arange(len(labels)), labels]).mean())

    lowest = minimize(loss, np.zeros(3 * 16), method="L-BFGS-B").fun
    reached = fit_one(LpPlusPlus(iterations=3000, lengths=WHOLE), task).loss_curve[-1]
    assert reached == pytest.approx(lowest, abs=1e-3)  # scipy differentiates numerically


def test_the_blend_is_a_weight_and_a_single_length_needs_no_validation(make_task: MakeTask) -> None:
    fitted = fit_one(LpPlusPlus(iterations=5, lengths=WHOLE), make_task(n_val=0))
    assert (fitted.selected_on, fitted.candidates) == ("training", ())
    assert fitted.settings == {"epochs": 5, "stopped_epoch": 5, "momentum": 0.9}
    assert len(fitted.loss_curve) == 5


def test_a_scale_beyond_sense_is_told(make_task: MakeTask) -> None:
    with pytest.raises(SettingsError, match="NaN or infinite"):
        fit_one(LpPlusPlus(), make_task(logit_scale=1e39))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "iterations is 0; expected 1 or more"),
        ({"alpha_every": 0}, "alpha_every is 0; expected 1 or more"),
        ({"momentum": 1.0}, "momentum is 1.0; expected 0 or more, below 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        create_method("lp++", settings)
