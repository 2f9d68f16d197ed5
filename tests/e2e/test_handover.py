"""What a new operator of a nightly job goes through: a night that fails, a rollback that holds, moving, upgrading, freeing room."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from servers import Prefect, wait_until
from simulated_nights import DEPLOYMENT, PictureFolder, night, simulate
from test_webhook import listening

from clip_adapter.datasets import open_dataset
from feature_cache import locate, storage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
MakePrefect = Callable[[Path, Path], Prefect]
GOLDEN = Path(__file__).parents[1] / "golden/store-1"


def asked(prefect: Prefect, *command: str) -> Any:
    """What a command answers to a program, after what it tells a person."""
    lines = prefect.run("clip-adapter", *command, "--json").splitlines()
    first = next(number for number, line in enumerate(lines) if line in {"{", "["})
    return json.loads("\n".join(lines[first:]))


def copied(source: Path, target: Any) -> None:
    """Copy a store as documented: without Prefect's folder and without unfinished files."""
    for path in sorted(source.rglob("*")):
        inner = path.relative_to(source)
        if path.is_file() and inner.parts[0] != "prefect" and path.suffix != ".tmp":
            storage.write_atomic(target / inner.as_posix(), pa.py_buffer(path.read_bytes()))


def test_a_nightly_job_changes_hands(
    make_prefect: MakePrefect, tmp_path: Path, object_store: Callable[[str], str]
) -> None:
    open_dataset("digits", data=tmp_path)
    pictures = PictureFolder(tmp_path / "pictures", tmp_path / "digits")
    prefect = make_prefect(tmp_path / "prefect", tmp_path / "store")
    with listening() as (url, told):
        prefect.environment["CLIP_ADAPTER_WEBHOOK_URL"] = url
        nights = simulate(prefect, pictures)
        _, first = next(nights)
        (dataset,) = (each["dataset"] for each in asked(prefect, "champion"))
        champion = asked(prefect, "champion", dataset)

        # A night fails, and says so; the next, with many more pictures, promotes.
        shutil.move(pictures.folder, tmp_path / "away")
        failed = prefect.run_deployment(DEPLOYMENT)
        reason = prefect.wait_for(failed, "Failed")["state"]["message"]
        wait_until(lambda: told, 60)
        assert told[0]["reason"] == reason
        assert "there is no folder" in reason
        shutil.move(tmp_path / "away", pictures.folder)
        assert next(nights)[1]["state_name"] == "Completed"
        better = asked(prefect, "champion", dataset)
        assert better["classifier_sha256"] != champion["classifier_sha256"]

        # A rollback holds through the next night.
        prefect.run("clip-adapter", "rollback", dataset)
        assert (
            asked(prefect, "champion", dataset)["classifier_sha256"]
            == champion["classifier_sha256"]
        )
        assert night(prefect, None)["state_name"] == "UpToDate"
        assert (
            asked(prefect, "champion", dataset)["classifier_sha256"]
            == champion["classifier_sha256"]
        )
        assert first["state_name"] == "Completed"

    # The store moves to another folder, and to a bucket.
    for target in (tmp_path / "moved", locate(object_store("bucket/moved"))):
        copied(prefect.root, target)
        root = ("--root", str(target) if isinstance(target, Path) else target.url)
        prefect.run("clip-adapter", "cache", "verify", "--deep", *root)
        there = asked(prefect, "champion", dataset, *root)
        assert there["classifier_sha256"] == champion["classifier_sha256"]
        again = asked(
            prefect,
            *("extract", f"imagefolder:{pictures.folder}", "--model", "glyphs", *root),
        )
        assert again["encoded"] == 0

    # A store of an earlier version is carried on, and room is freed.
    shutil.copytree(GOLDEN, tmp_path / "old")
    prefect.run("clip-adapter", "cache", "verify", "--deep", "--root", tmp_path / "old")
    freed = ("runs", "prune", "--older-than", "2000-01-01")
    prefect.run("clip-adapter", *freed, "--root", tmp_path / "old", "--yes")
    prefect.run("clip-adapter", "cache", "gc", "--unreferenced", "--yes")
    assert asked(prefect, "champion", dataset)["classifier_sha256"] == champion["classifier_sha256"]
