"""From prompt features to one prototype a class."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.methods import class_prototypes


def prompts(n_classes: int, n_templates: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n_classes, n_templates, 16)).astype(np.float32)


def test_one_template_is_its_direction() -> None:
    features = prompts(3, 1)
    directions = features[:, 0] / np.linalg.norm(features[:, 0], axis=1, keepdims=True)
    # Normalised twice: a rounding of numbers below 1.
    np.testing.assert_allclose(class_prototypes(features), directions, atol=1e-6)


@given(factor=st.floats(1e-3, 1e3))
def test_every_template_counts_the_same_whatever_its_norm(factor: float) -> None:
    features = prompts(3, 4)
    louder = features.copy()
    louder[:, 2] *= factor
    np.testing.assert_allclose(class_prototypes(louder), class_prototypes(features), atol=1e-6)


def test_prototypes_have_length_one_and_single_precision() -> None:
    found = class_prototypes(prompts(3, 4).astype(np.float64))
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)


def test_the_order_of_templates_does_not_matter() -> None:
    features = prompts(3, 4)
    np.testing.assert_allclose(
        class_prototypes(features[:, ::-1]), class_prototypes(features), atol=1e-6
    )
