"""Where a root lies: paths of this machine, and URLs of object stores."""

import os
from pathlib import Path

import pytest

from feature_cache import InvalidInputError, ObjectPath, locate


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("store") == tmp_path / "store"


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/store") == tmp_path / "store"


def test_the_home_of_a_stranger_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="names no folder"):
        locate("~nobody-of-this-name/store")


@pytest.mark.parametrize("url", ["file:///data/a%20b", "file://localhost/data/a%20b"])
def test_a_file_url_is_a_path(url: str) -> None:
    assert locate(url) == Path(os.path.realpath("/data")) / "a b"


@pytest.mark.parametrize("url", ["file://data/store", "file://", "file:///data?x=1"])
def test_a_file_url_of_another_machine_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="three slashes"):
        locate(url)


@pytest.mark.parametrize("scheme", ["s3", "gs", "abfs", "abfss"])
def test_every_object_store_has_a_scheme(scheme: str) -> None:
    assert locate(f"{scheme}://bucket/a//b/") == ObjectPath(f"{scheme}://bucket", "a/b")


def test_a_bucket_alone_is_a_root() -> None:
    assert str(locate("s3://bucket") / "features") == "s3://bucket/features"


def test_options_stay_with_every_name_below_but_are_not_shown() -> None:
    below = locate("s3://bucket/store?region=eu-west-1") / "features" / "x.y.parquet"
    assert isinstance(below, ObjectPath)
    assert below.url == "s3://bucket/store/features/x.y.parquet?region=eu-west-1"
    assert str(below) == "s3://bucket/store/features/x.y.parquet"
    assert (below.name, below.stem) == ("x.y.parquet", "x.y")
    assert below.parent == locate("s3://bucket/store/features?region=eu-west-1")


def test_a_url_names_the_same_place_again() -> None:
    place = locate("s3://bucket/store?region=eu-west-1&scheme=http")
    assert isinstance(place, ObjectPath)
    assert locate(place.url) == place == locate(place)


@pytest.mark.parametrize("url", ["http://host/store", "ftp://host", "postgres://host/store"])
def test_another_scheme_is_refused_with_those_that_are_known(url: str) -> None:
    with pytest.raises(InvalidInputError, match=r"s3, gs, abfs.*write for example"):
        locate(url)


@pytest.mark.parametrize("url", ["s3://", "s3:///store", "s3://bucket/../other", "s3://bucket/#a"])
def test_a_url_without_bucket_or_with_detours_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="names no bucket and prefix"):
        locate(url)


def test_a_malformed_url_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="malformed"):
        locate("s3://[bucket/store")


@pytest.mark.parametrize(
    "url",
    [
        "s3://me:hunter2@bucket/store",
        "s3://bucket/store?secret_key=hunter2",
        "s3://bucket/store?session_token=hunter2",
        "s3://bucket/store?se%63ret_key=hunter2",
        "abfs://container/store?account_key=hunter2",
        "abfs://container/store?sv=1&sig=hunter2",
        "abfs://container/store?client_SECRET=hunter2",
    ],
)
def test_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInputError, match="by the environment") as refused:
        locate(url)
    assert "hunter2" not in str(refused.value)
