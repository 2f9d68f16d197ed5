"""CLIP-Adapter on real CLIP ViT-B/32 features of flowers, where they are at hand."""

import numpy as np
import pytest

from clip_adapter.methods import ClipAdapter, FewShotTask, ZeroShot
from clip_adapter.training import TrainingSettings, evaluate


@pytest.mark.shared_data
def test_sixteen_flowers_a_class_lift_clip_above_ninety_percent(
    flowers: dict[str, np.ndarray],
) -> None:
    # Half of the validation images stand in for the test split; nothing is chosen on either.
    held_back = slice(1, None, 2)
    labels = flowers["val_labels"][held_back].astype(np.int64)
    images = flowers["val_features"][held_back].astype(np.float32)
    task = FewShotTask(
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
    # A quarter of the usual epochs: seconds instead of a minute.
    method = ClipAdapter(residual_ratios=(0.6,), training=TrainingSettings(epochs=50))
    (adapted,), (frozen,) = method.fit([task]), ZeroShot().fit([task])
    assert evaluate(adapted.classifier.logits(images), labels)["accuracy"] >= 0.90
    assert evaluate(frozen.classifier.logits(images), labels)["accuracy"] < 0.75
