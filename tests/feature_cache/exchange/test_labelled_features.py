"""What makes up labelled features, and what is refused."""

import hashlib
from typing import Any

import numpy as np
import pytest
from exchange_samples import assert_same, sample

from feature_cache import FeatureCacheError, FeatureStore
from feature_cache.exchange import InvalidImportError, row_ids

TEN_CLASSES = [f"class {number}" for number in range(10)]
ROWS = np.ones((6, 4), np.float32)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"features": np.ones(6, np.float32)}, r"features have shape \[6\]"),
        ({"features": np.ones((0, 4), np.float32)}, "at least one row"),
        ({"features": np.ones((6, 0), np.float32)}, "at least one row and one column"),
        ({"features": np.ones((6, 4), np.int64)}, "features are int64, expected float32"),
        ({"features": np.full((6, 4), np.nan, np.float32)}, "row 0 of features is not finite"),
        ({"features": np.full((6, 4), 1e300)}, "not finite in float32"),
        ({"features": np.ones((6, 4), np.longdouble)}, "expected float32, float16 or float64"),
        ({"labels": np.zeros(6)}, "labels are float64"),
        ({"labels": np.zeros(6, np.bool_)}, "labels are bool"),
        ({"labels": np.zeros((6, 3), np.int64)}, "argmax"),
        ({"labels": np.arange(6)}, "labels go from 0 to 5, expected 0 to 2"),
        ({"labels": np.arange(6) - 4}, "labels go from -4"),
        ({"labels": np.full(6, 2**64 - 1, np.uint64)}, "to 18446744073709551615"),
        ({"labels": np.zeros(5, np.int64)}, "labels have 5 rows, the features 6"),
        ({"labels": ["Forest"] * 5 + ["Wald"]}, "'Wald'"),
        ({"class_names": None}, "give class_names"),
        ({"class_names": []}, "expected 0 to -1"),
        ({"class_names": ["a", "b", "b"]}, "'b' more than once"),
        ({"class_names": ["a", "b", ""]}, "text without NUL"),
        ({"class_names": ["a", "b", "c\0"]}, "text without NUL"),
        ({"class_names": ["a", "b", "\ud800"]}, "no text"),
        ({"class_names": ["a", "b", 3]}, "no text"),
        ({"class_names": np.arange(3)}, "class_names is int64"),
        ({"class_names": np.array([0xFFFFFFFF] * 3, np.uint32).view("<U1")}, "no text"),
        ({"splits": ["train"] * 5 + ["dev"]}, "'dev', expected train, val, test"),
        ({"splits": ["train"] * 5}, "splits have 5 rows"),
        ({"paths": ["a.jpg"] * 7}, "paths have 7 rows"),
        ({"paths": ["a\0.jpg"] * 6}, "paths hold"),
        ({"image_sha256": ["ab"] * 6}, "image_sha256 of row 0 is 'ab'"),
        ({"image_sha256": [" " * 64] * 6}, "64 hexadecimal digits"),
        ({"image_sha256": [b"short"] * 6}, "expected 32 bytes"),
        ({"image_sha256": np.zeros((5, 32), np.uint8)}, "image_sha256 have 5 rows"),
        ({"image_sha256": np.zeros((6, 31), np.uint8)}, "image_sha256 is uint8"),
        ({"image_sha256": [bytes(32)] * 6}, "rows 0 and 1 have the same image_sha256"),
        ({"text_features": np.ones((2, 4), np.float32)}, r"expected \[3, 4\]"),
        ({"text_features": np.full((3, 4), np.inf)}, "row 0 of text_features"),
        ({"logit_scale": 0.0}, "positive number"),
        ({"logit_scale": np.nan}, "positive number"),
        ({"logit_scale": np.ones(2)}, "expected a number"),
        ({"logit_bias": np.nan}, "logit_bias is nan, expected a finite number"),
        ({"logit_bias": np.ones(2)}, "logit_bias is float64 .* expected a number"),
        ({"logit_bias": True}, "logit_bias is bool .* expected a number"),
    ],
)
def test_what_makes_no_labelled_features_is_refused_and_says_why(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidImportError, match=reason) as refused:
        sample(**changes)
    assert isinstance(refused.value, FeatureCacheError)
    assert str(refused.value).startswith("features 'sample' cannot be used")


def test_double_precision_is_rounded_to_single() -> None:
    values = np.linspace(0, 1, 24).reshape(6, 4)
    taken = sample(features=values, image_sha256=None)
    assert_same(taken, sample(features=values.astype(np.float32), image_sha256=None))


def test_half_precision_stays_as_it_is() -> None:
    assert sample(features=ROWS.astype(np.float16), image_sha256=None).features.dtype == np.float16


def test_labels_may_be_class_names() -> None:
    names = ["Annual Crop", "Forest", "Sea/Lake"] * 2
    assert_same(sample(labels=np.array(names)), sample())


def test_class_names_given_as_labels_alone_are_sorted() -> None:
    taken = sample(labels=["b", "a", "c"] * 2, class_names=None)
    assert taken.class_names == ("a", "b", "c")
    assert taken.labels.tolist() == [1, 0, 2] * 2


def test_a_class_without_rows_is_allowed() -> None:
    taken = sample(class_names=TEN_CLASSES, text_features=None)
    assert taken.class_names == tuple(TEN_CLASSES)


def test_validation_is_another_word_for_val() -> None:
    assert sample(splits=["validation", "valid", "val"] * 2).splits == ("val",) * 6


@pytest.mark.parametrize("form", ["hexadecimal", "bytes", "list", "upper case"])
def test_digests_come_in_several_forms(form: str) -> None:
    # The last byte is zero, which arrays of bytes drop.
    raw = [hashlib.sha256(bytes([row])).digest()[:31] + b"\0" for row in range(6)]
    digits = np.array([each.hex() for each in raw])
    forms: dict[str, Any] = {
        "hexadecimal": digits,
        "upper case": np.char.upper(digits),
        "bytes": np.array(raw, "S32"),
        "list": raw,
    }
    assert sample(image_sha256=forms[form]).image_sha256 == tuple(raw)


def test_without_digests_a_row_is_identified_by_its_values() -> None:
    taken = sample(image_sha256=None)
    row = taken.features[2].astype("<f4").tobytes()
    expected = hashlib.sha256(b"clip-adapter.feature-row.1\0<f4\0004\0" + row).digest()
    assert taken.image_sha256[2] == expected
    assert not taken.have_image_digests
    assert sample().have_image_digests


def test_importing_the_same_features_twice_stores_them_once(tmp_path: Any) -> None:
    store = FeatureStore(tmp_path, "ab" * 32)
    first, again = sample(image_sha256=None), sample(image_sha256=None)
    store.append_images(first.image_sha256, first.features)
    assert store.missing_images(again.image_sha256) == []


def test_the_same_values_in_another_precision_are_other_features() -> None:
    assert set(row_ids(ROWS)).isdisjoint(row_ids(ROWS.astype(np.float16)))


def test_rows_that_repeat_with_other_labels_share_an_id() -> None:
    taken = sample(features=ROWS, image_sha256=None)
    assert len(set(taken.image_sha256)) == 1
    assert taken.labels.tolist() == [0, 1, 2] * 2


def test_one_image_encoded_in_other_company_is_still_one_image() -> None:
    # Half precision moves a feature by a thousandth, the tolerance is a hundredth.
    features = ROWS * (1 + np.arange(6, dtype=np.float32)[:, None] / 2000)
    taken = sample(features=features, image_sha256=[bytes(32)] * 6)
    assert len(taken) == 6


def test_one_digest_with_features_two_percent_apart_is_refused() -> None:
    features = ROWS * np.array([1, 1.02, 1, 1, 1, 1], np.float32)[:, None]
    with pytest.raises(InvalidImportError, match="rows 0 and 1 have the same image_sha256"):
        sample(features=features, image_sha256=[bytes(32)] * 6)


def test_norms_one_percent_off_are_not_taken_for_normalised() -> None:
    rows = np.full((6, 4), 0.5, np.float32)
    assert sample(features=rows, image_sha256=None).have_unit_norms
    rows[3] *= 1.01
    assert not sample(features=rows, image_sha256=None).have_unit_norms


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_normalised_features_look_so(kind: type) -> None:
    random = np.random.default_rng(0).normal(size=(6, 4))
    unit = random / np.linalg.norm(random, axis=1, keepdims=True)
    assert sample(features=unit.astype(kind)).have_unit_norms
    assert not sample(features=random.astype(kind)).have_unit_norms
