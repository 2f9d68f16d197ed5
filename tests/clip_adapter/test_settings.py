"""Where things lie, as a person or an environment says it."""

from pathlib import Path

import pytest

from clip_adapter.errors import ParameterError
from clip_adapter.settings import Settings
from feature_cache import InvalidInputError, ObjectPath

URL = "s3://bucket/store?region=us-east-1"


def test_the_environment_names_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_ROOT", str(tmp_path / "store"))
    assert Settings.of().location == tmp_path / "store"
    assert Settings.of().workspace == tmp_path / "store"
    assert Settings.of().url == str(tmp_path / "store")


def test_the_environment_names_an_object_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIP_ADAPTER_ROOT", URL)
    settings = Settings.of()
    assert settings.location == ObjectPath("s3://bucket", "store", "?region=us-east-1")
    assert settings.url == URL


def test_what_cannot_lie_in_an_object_store_lies_in_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.of(root=URL)
    assert settings.workspace == tmp_path / "clip-adapter-store"
    assert settings.data_folder == tmp_path / "clip-adapter-store" / "images"


def test_an_option_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_ROOT", URL)
    assert Settings.of(root=tmp_path).location == tmp_path


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIP_ADAPTER_ROOT", "")
    assert Settings.of().location == tmp_path / "clip-adapter-store"


def test_a_secret_in_the_environment_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_ROOT", "s3://me:hunter2@bucket/store")
    with pytest.raises(InvalidInputError) as refused:
        _ = Settings.of().location
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "hunter2.example.org/hook",
        "ftp://hunter2",
        "https://?hunter2",
        "http://[x/hunter2",
        "http://hunter2:99999",
    ],
)
def test_a_webhook_that_is_no_url_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_WEBHOOK_URL", text)
    with pytest.raises(ParameterError, match="CLIP_ADAPTER_WEBHOOK_URL: expected http") as refused:
        Settings.of()
    assert "hunter2" not in str(refused.value)


def test_the_url_of_a_webhook_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_WEBHOOK_URL", "https://example.org/hunter2")
    assert Settings.of().webhook_url == "https://example.org/hunter2"
    assert "hunter2" not in repr(Settings.of())
