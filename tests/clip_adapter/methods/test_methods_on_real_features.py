"""CLIP-Adapter and other methods on real CLIP ViT-B/32 features of flowers, where these are available."""

import numpy as np
import pytest

from clip_adapter.methods import ClipAdapter, FewShotTask, Fitted, ZeroShot, create_method
from clip_adapter.training import TrainingSettings, evaluate


@pytest.fixture(name="task")
def _task(flowers: dict[str, np.ndarray]) -> FewShotTask:
    return FewShotTask(
        train_features=flowers["shots_16_features"],
        train_labels=flowers["shots_16_labels"],
        val_features=flowers["val_features"][::2],
        val_labels=flowers["val_labels"][::2],
        prompt_features=flowers["stand_in_prototypes"][:, None],
        logit_scale=100.0,
        class_names=tuple(str(name) for name in flowers["class_names"]),
        shots=16,
        seed=1,
    )


def accuracy(flowers: dict[str, np.ndarray], fitted: Fitted) -> float:
    """On the half of the validation images that stands in for the test split."""
    images = flowers["val_features"][1::2].astype(np.float32)
    labels = flowers["val_labels"][1::2].astype(np.int64)
    return evaluate(fitted.classifier.logits(images), labels)["accuracy"]


@pytest.mark.shared_data
def test_sixteen_flowers_a_class_lift_clip_above_ninety_percent(
    flowers: dict[str, np.ndarray], task: FewShotTask
) -> None:
    # A quarter of the usual epochs: seconds instead of a minute.
    method = ClipAdapter(residual_ratios=(0.6,), training=TrainingSettings(epochs=50))
    (adapted,), (frozen,) = method.fit([task]), ZeroShot().fit([task])
    assert accuracy(flowers, adapted) >= 0.90
    assert accuracy(flowers, frozen) < 0.75


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        # Measured: 0.914, 0.950, 0.946, 0.955, 0.902 and 0.953; one image in a hundred is left.
        ("tip-adapter", {}, 0.90),
        ("tip-adapter-f", {}, 0.94),
        ("task-res", {"recipe": "fast"}, 0.935),
        ("gda", {}, 0.945),
        ("lp++", {}, 0.89),
        ("cross-modal-probe", {"recipe": "fast", "learning_rates": [1e-3]}, 0.94),
    ],
)
def test_each_rival_makes_much_of_sixteen_flowers_a_class(
    flowers: dict[str, np.ndarray],
    task: FewShotTask,
    name: str,
    settings: dict[str, object],
    expected: float,
) -> None:
    (fitted,) = create_method(name, settings).fit([task])
    assert accuracy(flowers, fitted) >= expected
