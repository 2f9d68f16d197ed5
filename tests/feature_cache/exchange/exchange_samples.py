"""Labelled features to write and read, and how two of them are compared."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from feature_cache.exchange import LabelledFeatures

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def sample(n: int = 6, d: int = 4, **changes: Any) -> LabelledFeatures:
    """n features of three classes, with all that can be known about them."""
    random = np.random.default_rng(n)
    arrays: dict[str, Any] = {
        "features": random.normal(size=(n, d)).astype(np.float32),
        "labels": np.arange(n) % 3,
        "class_names": ["Annual Crop", "Forest", "Sea/Lake"],
        "splits": [("train", "val", "test")[row % 3] for row in range(n)],
        "image_sha256": random.integers(0, 256, (n, 32), dtype=np.uint8),
        "paths": [f"Forest/Forest_{row}.jpg" for row in range(n)],
        "text_features": random.normal(size=(3, d)).astype(np.float32),
        "logit_scale": 100.0,
        "logit_bias": -10.0,
    }
    return LabelledFeatures.from_arrays(source="sample", **arrays | changes)


@st.composite
def labelled_features(draw: Any, *, every_class: bool = False) -> LabelledFeatures:
    """Any labelled features: any optional part may be missing."""
    names = draw(st.lists(_TEXT, min_size=1, max_size=4, unique=True))
    least = len(names) if every_class else 1
    n, d = draw(st.integers(least, 8)), draw(st.integers(1, 5))
    kind = draw(st.sampled_from([np.float32, np.float16]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = random.integers(0, len(names), n)
    if every_class:
        labels[: len(names)] = np.arange(len(names))
    optional = {
        "splits": random.choice(["train", "val", "test"], n),
        "image_sha256": random.integers(0, 256, (n, 32), dtype=np.uint8),
        "paths": draw(st.lists(_TEXT, min_size=n, max_size=n)),
        "text_features": random.normal(size=(len(names), d)).astype(kind),
        "logit_scale": draw(st.floats(min_value=0, exclude_min=True, allow_infinity=False)),
        "logit_bias": draw(st.floats(allow_nan=False, allow_infinity=False)),
    }
    kept = draw(st.sets(st.sampled_from(sorted(optional))))
    return LabelledFeatures.from_arrays(
        source="any",
        features=random.normal(size=(n, d)).astype(kind),
        labels=labels,
        class_names=names,
        **{name: optional[name] for name in kept},
    )


def assert_same(found: LabelledFeatures, expected: LabelledFeatures, *, but: str = "") -> None:
    """Every attribute is equal bit for bit, except those that `but` names."""
    for name in sorted(set(vars(expected)) - set(but.split())):
        one, other = getattr(found, name), getattr(expected, name)
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other, err_msg=name)
        else:
            assert one == other, name
