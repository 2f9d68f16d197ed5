"""Why features are not reused, field by field."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.encoders import EncoderIdentity, FieldDifference
from clip_adapter.encoders.fingerprint import canonical_json

CONFIG = {"embed_dim": 8, "text_cfg": {"width": 4, "name": "tiny"}}
PREPROCESSING = {"resize_mode": "shortest", "mean": [0.5, 0.5, 0.5], "size": [16, 16]}

leaves = st.integers() | st.text(max_size=5) | st.booleans() | st.none() | st.lists(st.integers())
configurations = st.recursive(
    leaves, lambda inner: st.dictionaries(st.text("abc", max_size=3), inner), max_leaves=8
)


def identity(**changes: Any) -> EncoderIdentity:
    contents = {
        "model_config": canonical_json(CONFIG),
        "weights_sha256": "ab" * 32,
        "preprocessing": canonical_json(PREPROCESSING),
        "tokenizer": "cd" * 32,
        "precision": "fp32",
        **changes,
    }
    return EncoderIdentity(**contents)


def differing(*triple: str | None) -> list[FieldDifference]:
    field, ours, theirs = triple
    return [FieldDifference(field=str(field), ours=ours, theirs=theirs)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"precision": "bf16"}, differing("precision", "fp32", "bf16")),
        ({"format_version": 9}, differing("format_version", "1", "9")),
        (
            {"preprocessing": canonical_json({**PREPROCESSING, "resize_mode": "squash"})},
            differing("preprocessing.resize_mode", "shortest", "squash"),
        ),
        (
            {"preprocessing": canonical_json({**PREPROCESSING, "mean": [0.4, 0.5, 0.5]})},
            differing("preprocessing.mean", "[0.5,0.5,0.5]", "[0.4,0.5,0.5]"),
        ),
        (
            {"model_config": canonical_json({**CONFIG, "text_cfg": {"width": 4}})},
            differing("model_config.text_cfg.name", "tiny", None),
        ),
        (
            {"model_config": canonical_json({**CONFIG, "quick_gelu": True})},
            differing("model_config.quick_gelu", None, "true"),
        ),
        ({"model_config": "no JSON"}, None),
    ],
)
def test_each_value_that_differs_is_named_with_both_sides(
    changes: dict[str, Any], expected: list[FieldDifference] | None
) -> None:
    found = identity().differences(identity(**changes).fields())
    if expected is None:
        assert {each.field.partition(".")[0] for each in found} == {"model_config"}
    else:
        assert found == expected


def test_a_field_that_only_one_side_has_differs() -> None:
    before = identity().fields()
    without = {name: value for name, value in before.items() if name != "tokenizer"}
    assert identity().differences(without) == differing("tokenizer", "cd" * 32, None)
    assert identity().differences({**before, "colour": "red"}) == differing("colour", None, "red")


def test_features_of_which_nothing_is_known_differ_in_everything() -> None:
    named = {each.field.partition(".")[0] for each in identity().differences({})}
    assert named == set(identity().fields())


@given(one=configurations, other=configurations)
def test_whatever_makes_another_fingerprint_is_named(one: Any, other: Any) -> None:
    here, there = (identity(model_config=canonical_json(each)) for each in (one, other))
    differences = here.differences(there.fields())
    assert (differences == []) == (here.fingerprint == there.fingerprint)
    assert all(each.field.startswith("model_config") for each in differences)
