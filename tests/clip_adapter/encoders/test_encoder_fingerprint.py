"""An encoder is its configuration, weights, preprocessing and precision, and nothing else."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import fields
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from clip_adapter.encoders import EncoderIdentity, load_encoder
from clip_adapter.encoders.fingerprint import digest_weights

ChangeConfig = Callable[[Path, Callable[[dict[str, Any]], object]], None]
IDENTITY = EncoderIdentity(
    model_config='{"embed_dim":8}',
    weights_sha256="ab" * 32,
    preprocessing='{"size":[16,16]}',
    tokenizer="cd" * 32,
    precision="fp32",
    format_version=1,
)


def identity_of(folder: Path) -> EncoderIdentity:
    return load_encoder(f"local-dir:{folder}").identity


def changed_fields(before: EncoderIdentity, after: EncoderIdentity) -> set[str]:
    old, new = before.fields(), after.fields()
    return {name for name in old if old[name] != new[name]}


values = st.fixed_dictionaries(
    {
        field.name: st.integers(0, 9) if field.type is int else st.text(max_size=9)
        for field in fields(EncoderIdentity)
    }
)


@pytest.mark.parametrize("field", [field.name for field in fields(EncoderIdentity)])
@given(data=st.data())
def test_changing_any_field_makes_another_encoder(field: str, data: st.DataObject) -> None:
    before = data.draw(values)
    after = {**before, field: data.draw(values.map(itemgetter(field)))}
    assume(before[field] != after[field])
    identity, other = EncoderIdentity(**before), EncoderIdentity(**after)
    assert identity.fingerprint != other.fingerprint
    assert changed_fields(identity, other) == {field}
    assert [each.field.split(".")[0] for each in identity.differences(other.fields())] == [field]


@given(contents=values)
def test_equal_fields_make_the_same_encoder(contents: dict[str, Any]) -> None:
    backwards = dict(reversed(contents.items()))
    identity, same = EncoderIdentity(**contents), EncoderIdentity(**backwards)
    assert identity.fingerprint == same.fingerprint
    assert identity.differences(same.fields()) == []


def test_a_fingerprint_stays_what_it_was_in_earlier_versions() -> None:
    # If this changes, every stored feature is encoded again: raise FORMAT_VERSION instead, and
    # only when the features themselves change.
    assert (
        IDENTITY.fingerprint == "285adf7543aab73958a734caa59a47549fcd75fa5ed245626d50f77fefc4faf0"
    )


def test_neither_folder_nor_name_nor_time_nor_batch_size_is_part_of_an_encoder(
    tiny_model: str, tiny_folder: Path
) -> None:
    weights = tiny_folder / "open_clip_model.safetensors"
    weights.rename(tiny_folder / "renamed.safetensors")
    for path in tiny_folder.iterdir():
        os.utime(path, (0, 0))
    moved = load_encoder(f"local-dir:{tiny_folder}", batch_size=3)
    assert moved.name != tiny_model
    assert moved.fingerprint == load_encoder(tiny_model).fingerprint


def test_the_layout_of_the_configuration_file_is_not_part_of_an_encoder(
    tiny_folder: Path,
) -> None:
    before, path = identity_of(tiny_folder), tiny_folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    backwards = {name: dict(reversed(config[name].items())) for name in reversed(config)}
    path.write_text(json.dumps(backwards, indent=4))
    assert identity_of(tiny_folder) == before


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (lambda config: config["preprocess_cfg"].update(mean=[0.4, 0.5, 0.5]), "preprocessing"),
        (lambda config: config["preprocess_cfg"].update(std=[0.4, 0.5, 0.5]), "preprocessing"),
        (
            lambda config: config["preprocess_cfg"].update(interpolation="bilinear"),
            "preprocessing",
        ),
        (lambda config: config["preprocess_cfg"].update(resize_mode="squash"), "preprocessing"),
        # The same weights, cut into one head instead of two.
        (lambda config: config["model_cfg"]["vision_cfg"].update(head_width=16), "model_config"),
        (lambda config: config["model_cfg"].update(quick_gelu=True), "model_config"),
        (
            lambda config: config["model_cfg"]["text_cfg"].update(
                tokenizer_kwargs={"clean": "whitespace"}
            ),
            "model_config tokenizer",
        ),
    ],
)
def test_a_changed_configuration_changes_what_it_is_about_only(
    tiny_folder: Path,
    change_config: ChangeConfig,
    edit: Callable[[dict[str, Any]], object],
    field: str,
) -> None:
    before = identity_of(tiny_folder)
    change_config(tiny_folder, edit)
    assert changed_fields(before, identity_of(tiny_folder)) == set(field.split())


def test_one_other_bit_of_a_weight_makes_another_encoder(tiny_folder: Path) -> None:
    before, path = identity_of(tiny_folder), tiny_folder / "open_clip_model.safetensors"
    weights = {name: tensor.clone() for name, tensor in load_file(path).items()}
    bits = weights["text_projection"].view(torch.int32)
    bits[0, 0] ^= 1
    save_file(weights, path)
    assert changed_fields(before, identity_of(tiny_folder)) == {"weights_sha256"}


def test_a_copy_of_the_folder_is_the_same_encoder(tiny_folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(tiny_folder, tmp_path / "copied"))
    assert identity_of(copied) == identity_of(tiny_folder)


def test_a_digest_depends_on_names_types_shapes_and_values() -> None:
    base = torch.arange(4, dtype=torch.int32)
    variants = [
        {"weight": base},
        {"other": base},
        {"weight": base.to(torch.int64)},
        {"weight": base.view(torch.float32)},
        {"weight": base.reshape(2, 2)},
        {"weight": base + 1},
        {"weight": base, "empty": torch.zeros(0)},
        {"weight": base[:2], "rest": base[2:]},
    ]
    assert len({digest_weights(variant) for variant in variants}) == len(variants)


def test_a_digest_does_not_depend_on_order_or_memory_layout() -> None:
    picture = torch.arange(120.0).reshape(2, 3, 4, 5)
    scale = torch.tensor(4.6)  # no dimension at all
    one = {"picture": picture, "scale": scale}
    other = {"scale": scale, "picture": picture.to(memory_format=torch.channels_last)}
    assert digest_weights(one) == digest_weights(other)
