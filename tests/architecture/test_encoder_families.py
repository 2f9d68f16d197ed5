"""The table of families in docs/encoders.md says of every tag of open_clip what the code says."""

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import open_clip
import pytest

from clip_adapter.encoders import parse_model_name
from clip_adapter.encoders.model_settings import find_settings
from clip_adapter.encoders.names import ModelName
from clip_adapter.errors import EncoderError

DOCUMENT = Path(__file__).parents[2] / "docs" / "encoders.md"
MARKED_WITH_TAG = re.compile(r"`TAG` for ([\w ,-]+)")


class Family(NamedTuple):
    """A row of the table."""

    name: str
    tags: str
    example: str
    file: str
    hub: str
    needs: str
    preprocessing: str
    verified: str


def families() -> list[Family]:
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    return [Family(*row) for row in rows if len(row) == len(Family._fields)][2:]


def patterns(family: Family) -> list[str]:
    return re.findall(r"`([^`]+)`", family.tags)


def members(family: Family) -> list[str]:
    return [
        tag
        for tag in open_clip.list_pretrained(as_str=True)
        if any(fnmatch(tag, pattern) for pattern in patterns(family))
    ]


def needs_transformers(tag: str) -> bool:
    text = open_clip.get_model_config(tag.partition(":")[0])["text_cfg"]
    return bool(text.get("hf_model_name") or text.get("hf_tokenizer_name"))


@pytest.mark.parametrize("tag", open_clip.list_pretrained(as_str=True))
def test_every_tag_belongs_to_a_family(tag: str) -> None:
    assert any(tag in members(family) for family in families())


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_a_family_is_as_its_row_says(family: Family, tmp_path: Path) -> None:
    tags = members(family)
    assert bool(tags) == bool(patterns(family))
    if tags:
        example = family.example.strip("`")
        assert example in tags
        assert parse_model_name(example).where == "tag"
        assert {needs_transformers(tag) for tag in tags} == {"[hf]" in family.needs}
    for name in re.findall(r"`(hf-hub:[^`]+)`", family.hub):
        assert parse_model_name(name).where == "hub"
    differing = set()
    for architecture in {tag.partition(":")[0].removesuffix("-quickgelu") for tag in tags}:
        file = tmp_path / f"{architecture}.safetensors"
        file.write_bytes(b"not looked at")
        name = f"{architecture}:{file}"
        try:
            find_settings(
                ModelName(
                    name=name, architecture=architecture, pretrained=str(file), where="checkpoint"
                )
            )
        except EncoderError:
            differing.add(architecture)
    marked = MARKED_WITH_TAG.search(family.preprocessing)
    named = set(re.split(r", | and ", marked[1])) if marked else set()
    assert named == differing or not tags


def test_the_families_that_are_held_as_features_are_loaded_by_a_test() -> None:
    source = Path(__file__).parents[1] / "clip_adapter" / "encoders" / "test_model_settings.py"
    loaded = re.findall(r'"([\w-]+:\w+)"', source.read_text(encoding="utf-8"))
    for family in families():
        if family.verified == "features":
            assert set(loaded) & set(members(family)), family.name
