import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exchange_samples import assert_same, sample

from feature_cache.exchange import (
    InvalidImportError,
    detect_format,
    read_features,
    write_clip_retrieval,
    write_npy,
    write_npz,
    write_safetensors,
)


@pytest.fixture(name="exports")
def _exports(tmp_path: Path) -> dict[str, Path]:
    """The sample in every format, under names of other formats."""
    return {
        "npz": write_npz(tmp_path / "a", sample()),
        "npy": write_npy(tmp_path / "b", sample()),
        "clip-retrieval": write_clip_retrieval(tmp_path / "c.npz", sample()),
        "safetensors": write_safetensors(tmp_path / "d.npy", sample()),
    }


def test_the_format_is_detected_by_content_and_not_by_name(exports: dict[str, Path]) -> None:
    assert {form: detect_format(path) for form, path in exports.items()} == {
        form: form for form in exports
    }


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_formats_with_room_for_everything_read_back_unchanged(
    exports: dict[str, Path], form: str
) -> None:
    assert_same(read_features(exports[form]), sample(), but="source")


@pytest.mark.parametrize("form", ["npy", "clip-retrieval"])
def test_the_other_formats_are_read_too(exports: dict[str, Path], form: str) -> None:
    assert read_features(exports[form]).image_sha256 == sample().image_sha256


@pytest.mark.parametrize(
    ("form", "choices"),
    [
        ("npz", {"labels": Path("x")}),
        ("npy", {"names": {"features": "x"}}),
        ("npz", {"class_from_folder": True}),
        ("safetensors", {"class_names": ("a",)}),
    ],
)
def test_a_choice_that_a_format_does_not_have_is_refused(
    exports: dict[str, Path], form: str, choices: dict[str, Any]
) -> None:
    with pytest.raises(InvalidImportError, match="cannot be chosen: leave it out"):
        read_features(exports[form], **choices)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"feature": "x"}, "no 'feature' to name, only features"),
        ({"labels": None}, "labels cannot be left unread"),
        ({"labels": "y"}, "no array 'y'"),
    ],
)
def test_a_role_or_array_that_does_not_exist_is_refused(
    exports: dict[str, Path], names: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidImportError, match=words):
        read_features(exports["npz"], names=names)


def test_an_optional_array_may_be_left_unread(exports: dict[str, Path]) -> None:
    found = read_features(exports["npz"], names={"paths": None})
    assert found.paths is None


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95pickled", b"features,labels\n"])
def test_other_files_are_refused_unread(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "features.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidImportError, match="pickled files are never read"):
        read_features(path)


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidImportError, match="is not there"):
        detect_format(tmp_path / "nothing")
    with pytest.raises(InvalidImportError, match="img_emb"):
        read_features(tmp_path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "of before 1.6"])
@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (("keys_2shots", "values_2shots"), 0),
        (("keys_2shots", "values_2shots"), 1),
        (("test_f", "test_l"), 0),
        (("test_f", "test_l"), 1),
    ],
)
def test_a_cache_of_tip_adapter_is_refused_with_the_lines_that_convert_it(
    tmp_path: Path, names: tuple[str, str], refused: int, *, zipped: bool
) -> None:
    features, labels = torch.rand(6, 4).half(), torch.arange(6) % 3
    is_cache = names[0].startswith("keys")
    one_hot = torch.nn.functional.one_hot(labels).half()
    saved = (features.T, one_hot) if is_cache else (features, labels)
    paths = [tmp_path / f"{name}.pt" for name in names]
    for path, tensor in zip(paths, saved, strict=True):
        torch.save(tensor, path, _use_new_zipfile_serialization=zipped)

    with pytest.raises(InvalidImportError, match="pickled files are never read") as caught:
        detect_format(paths[refused])

    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 3
    exec("\n".join(lines))  # noqa: S102  # as a user does
    converted = paths[refused].with_suffix(".npz")
    found = read_features(converted, class_names=("a", "b", "c"))
    np.testing.assert_array_equal(found.features, features.numpy())
    np.testing.assert_array_equal(found.labels, labels.numpy())


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("it was unpickled",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_refused_unread(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "cache.pkl"
    path.write_bytes(pickle.dumps(Trap(), protocol=protocol))
    with pytest.raises(InvalidImportError, match=r"pickled files are never read, .* numpy\.savez"):
        detect_format(path)


def test_a_file_of_torch_is_refused_unread(tmp_path: Path) -> None:
    torch.save({"model": Trap()}, tmp_path / "model.pt")
    with pytest.raises(InvalidImportError, match=r"keys_16shots.*values_16shots"):
        detect_format(tmp_path / "model.pt")
