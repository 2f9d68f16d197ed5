"""Damage between two runs: named, set aside, and only what it held is made again."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from states import damaged_files, features_in, rows_in

from clip_adapter.pipeline.encode import EncodedDataset
from feature_cache.parquet_file import is_final

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ExtractInSteps = Callable[..., EncodedDataset]
Damage = Callable[[Path, random.Random], None]


def flip_a_bit(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def cut_short(path: Path, dice: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])


def lengthen(path: Path, dice: random.Random) -> None:
    path.write_bytes(path.read_bytes() + dice.randbytes(100))


def empty(path: Path, _: random.Random) -> None:
    path.write_bytes(b"")


@pytest.fixture(scope="module", name="stored")
def _stored(extract_in_steps: ExtractInSteps, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of many small files; tests damage copies of it."""
    root = tmp_path_factory.mktemp("stored") / "store"
    extract_in_steps(root)
    return root


@pytest.mark.parametrize("damage", [flip_a_bit, cut_short, lengthen, empty])
def test_a_damaged_file_is_named_set_aside_and_made_again(
    tmp_path: Path,
    stored: Path,
    extract_in_steps: ExtractInSteps,
    damage: Damage,
    capfd: pytest.CaptureFixture[str],
) -> None:
    dice = random.Random(damage.__name__)  # noqa: S311  # no secret
    for number, file in enumerate(final_files(stored)):
        root = copy_of(stored, tmp_path / f"{number}")
        damage(root / file, dice)
        lost = n_features(stored) - n_features(root, without=[file])
        capfd.readouterr()
        assert extract_in_steps(root).n_encoded == lost
        assert file.name in capfd.readouterr().err
        assert len(list((root / file.parent).glob("*.damaged"))) == 1
        assert damaged_files(root) == []
        assert rows_in(root) == rows_in(stored)


def test_a_deleted_file_is_made_again(
    tmp_path: Path, stored: Path, extract_in_steps: ExtractInSteps
) -> None:
    for number, file in enumerate(final_files(stored)):
        root = copy_of(stored, tmp_path / f"{number}")
        (root / file).unlink()
        lost = n_features(stored) - n_features(root)
        assert extract_in_steps(root).n_encoded == lost
        assert rows_in(root) == rows_in(stored)


def test_two_files_that_changed_places_are_both_made_again(
    tmp_path: Path,
    stored: Path,
    extract_in_steps: ExtractInSteps,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Within a folder, and between image features, prompts, indexes and the description."""
    dice = random.Random(3)  # noqa: S311  # no secret
    for number in range(20):
        root = copy_of(stored, tmp_path / f"{number}")
        pair = dice.sample(final_files(stored), 2)
        swap(*(root / file for file in pair))
        lost = n_features(stored) - n_features(root, without=pair)
        capfd.readouterr()
        assert extract_in_steps(root).n_encoded == lost
        said = capfd.readouterr().err
        assert all(file.name in said for file in pair)
        assert rows_in(root) == rows_in(stored)


@pytest.mark.parametrize("damage", [flip_a_bit, cut_short, empty])
def test_a_store_of_which_every_file_is_damaged_is_made_again(
    tmp_path: Path, stored: Path, extract_in_steps: ExtractInSteps, damage: Damage
) -> None:
    for number in range(5):
        dice = random.Random(number)  # noqa: S311  # no secret
        root = copy_of(stored, tmp_path / f"{number}")
        for file in final_files(root):
            damage(root / file, dice)
        assert extract_in_steps(root).n_encoded == n_features(stored)
        assert rows_in(root) == rows_in(stored)


def test_a_file_of_another_encoder_is_set_aside(
    tmp_path: Path, stored: Path, extract_in_steps: ExtractInSteps, other_tiny_model: str
) -> None:
    """Its name, digest and kind are right: only the encoder that it names gives it away."""
    root, other = copy_of(stored, tmp_path / "store"), tmp_path / "other"
    extract_in_steps(other, model=other_tiny_model)
    (place,), (strangers,) = root.glob("features/*/image"), other.glob("features/*/image")
    stranger = next(strangers.glob("*.parquet"))
    shutil.copy(stranger, place)
    assert extract_in_steps(root).n_encoded == 0
    assert not (place / stranger.name).exists()
    assert rows_in(root) == rows_in(stored)


def final_files(root: Path) -> list[Path]:
    """Below the root, in any folder."""
    return sorted(path.relative_to(root) for path in root.rglob("*.parquet") if is_final(path.name))


def copy_of(stored: Path, root: Path) -> Path:
    return Path(shutil.copytree(stored, root))


def n_features(root: Path, *, without: list[Path] | None = None) -> int:
    """Of images; not counting what only these files hold."""
    spared = root.with_name(f"{root.name}-spared")
    shutil.copytree(root, spared)
    for file in without or []:
        (spared / file).unlink()
    counted = len(features_in(rows_in(spared)))
    shutil.rmtree(spared)
    return counted


def swap(one: Path, other: Path) -> None:
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
