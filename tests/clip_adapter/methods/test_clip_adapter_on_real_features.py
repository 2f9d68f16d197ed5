"""Every branch and both recipes on real CLIP ViT-B/32 features of flowers, where these are available."""

from typing import Literal

import numpy as np
import pytest

from clip_adapter.methods import ClipAdapter, FewShotTask
from clip_adapter.methods.clip_adapter import Branch, RatioMode
from clip_adapter.methods.selection import Selection
from clip_adapter.training import TrainingSettings, evaluate


def held_back_accuracy(method: ClipAdapter, flowers: dict[str, np.ndarray], *, shots: int) -> float:
    """On half of the validation images; the other half is what the method may choose by."""
    task = FewShotTask(
        train_features=flowers[f"shots_{shots}_features"],
        train_labels=flowers[f"shots_{shots}_labels"],
        val_features=flowers["val_features"][::2],
        val_labels=flowers["val_labels"][::2],
        prompt_features=flowers["stand_in_prototypes"][:, None],
        logit_scale=100.0,
        class_names=tuple(str(name) for name in flowers["class_names"]),
        shots=shots,
        seed=1,
    )
    (fitted,) = method.fit([task])
    found = fitted.classifier.logits(flowers["val_features"][1::2])
    return evaluate(found, flowers["val_labels"][1::2].astype(np.int64))["accuracy"]


@pytest.mark.shared_data
@pytest.mark.parametrize("recipe", ["paper", "fast"])
def test_both_recipes_reach_what_a_plain_loop_reached(
    flowers: dict[str, np.ndarray], recipe: Literal["paper", "fast"]
) -> None:
    method = ClipAdapter(residual_ratios=(0.6,), training=TrainingSettings(recipe=recipe))
    # A plain loop by AdamW reached 94 %; of 816 images a standard error is 0.9 points.
    assert held_back_accuracy(method, flowers, shots=16) > 0.92


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("mode", "selection"),
    [
        ("constant", "validation"),
        ("constant", "held-out-shots"),
        ("learned", "validation"),
        ("hypernetwork", "validation"),
    ],
)
@pytest.mark.parametrize("branch", ["visual", "text", "both"])
def test_every_form_lifts_clip_far_from_four_flowers_a_class(
    flowers: dict[str, np.ndarray], branch: Branch, mode: RatioMode, selection: Selection
) -> None:
    method = ClipAdapter(
        branch=branch,
        ratio_mode=mode,
        selection=selection,
        residual_ratios=(0.2, 0.6),
        text_residual_ratios=(0.2, 0.6),
        training=TrainingSettings(recipe="fast"),
    )
    # Zero-shot is at 65 %; the forms reached 88.6 to 91.1 %, with a standard error of 1 point.
    assert held_back_accuracy(method, flowers, shots=4) > 0.85
