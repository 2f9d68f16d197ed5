"""Results in the form of LAION's CLIP_benchmark: one JSON file a result, or its CSV of all of them."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from clip_adapter.encoders import HF_HUB, LOCAL_DIR
from clip_adapter.errors import UnknownNameError
from clip_adapter.exports.folder import public_name
from clip_adapter.runs import RunStoreError, query
from clip_adapter.shots import ALL_SHOTS
from feature_cache import InvalidInputError, Location
from feature_cache.exchange.atomic_write import new_folder, write_file

ZERO_SHOT, LINEAR_PROBE, FEW_SHOT = (
    "zeroshot_classification",
    "linear_probe",
    "fewshot_classification",
)
"""Tasks; the first two are CLIP_benchmark's, which has no word for other few-shot methods."""
_TASKS = {"zero-shot": ZERO_SHOT, "linear-probe": LINEAR_PROBE}
_FEWEST_CLASSES = 5
"""CLIP_benchmark has no `acc5` of fewer classes, of which every image is right."""

_FILES = re.compile(r"[\w+-]+_[0-9a-f]{32}\.json")

_RESULTS = """
SELECT
    dataset, model, method, shots, seed, selected_on, image_choice, settings_fingerprint, run_id,
    len(class_names) AS n_classes,
    max(value) FILTER (name = 'accuracy') AS acc1,
    max(value) FILTER (name = 'top5_accuracy') AS acc5,
    max(value) FILTER (name = 'mean_class_recall') AS mean_per_class_recall
FROM current_runs JOIN metrics USING (run_id)
WHERE split = 'test' AND (len($datasets) = 0 OR dataset IN $datasets)
GROUP BY ALL HAVING acc1 IS NOT NULL
ORDER BY dataset, model, method, settings_fingerprint, image_choice, shots, seed, run_id
"""


def write_clip_benchmark(
    root: Location, path: Path, *, datasets: Sequence[str] = (), overwrite: bool = False
) -> int:
    """Write the results of the leaderboard, one a run, as CLIP_benchmark writes its own.

    A path that ends in `.csv` gets the table that `clip_benchmark build` makes, any other is a folder of
    JSON files, which that command reads. The keys `dataset`, `model`, `pretrained`, `task` and
    `metrics` are CLIP_benchmark's; `method`, `shots` and what else names a run stand beside them. There
    is no `language`, which is not recorded, and no `acc5` of fewer than five classes. Numbers are
    fractions.

    Args:
        root: location of the store.
        path: the file or folder to write.
        datasets: names of the datasets to write; all when empty.
        overwrite: replace what exists under that name.

    Returns:
        The number of results.

    Raises:
        RunStoreError: there is no store, or no run on the leaderboard.
        UnknownNameError: a dataset has no runs.
        InvalidInputError: the file or folder exists, or one that is to be replaced holds other files.
        OSError: the disk failed; nothing is left behind.
    """
    check_datasets(root, datasets)
    rows = query(root, _RESULTS, {"datasets": list(datasets)}).to_pylist()
    if not rows:
        raise RunStoreError(
            "no run of these is on the leaderboard, which is what CLIP_benchmark's form is written from: "
            "train one with `clip-adapter train`"
        )
    results = [_result(row) for row in rows]
    if path.suffix.casefold() == ".csv":
        write_file(path, _csv(results).encode(), overwrite=overwrite)
        return len(results)
    if overwrite:
        check_folder(path, _FILES)
    with new_folder(path, overwrite=overwrite) as folder:
        for result in results:
            text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
            (folder / _file_name(result)).write_text(f"{text}\n", encoding="utf-8")
    return len(results)


def check_folder(path: Path, ours: re.Pattern[str]) -> None:
    """Raise if a folder that may be replaced holds something that no export of this kind wrote.

    Args:
        path: the folder; it may be missing.
        ours: names of files and folders of such an export.

    Raises:
        InvalidInputError: a name in the folder is another.
    """
    names = (each.name for each in path.iterdir()) if path.is_dir() else ()
    foreign = min((name for name in names if not ours.fullmatch(name)), default=None)
    if foreign is not None:
        raise InvalidInputError(
            f"{path} holds {foreign!r:.200}, which no such export wrote: choose another folder, as "
            "overwriting removes everything in it"
        )


def check_datasets(root: Location, datasets: Sequence[str]) -> None:
    """Raise unless every dataset has runs.

    Raises:
        RunStoreError: there is no store, or it has no runs.
        UnknownNameError: a dataset has none; the message suggests the nearest.
    """
    known = query(root, "SELECT DISTINCT dataset FROM runs ORDER BY ALL")["dataset"].to_pylist()
    if not known:
        raise RunStoreError(
            "the store has no runs to export: make some with `clip-adapter demo` or `clip-adapter train`"
        )
    for dataset in datasets:
        if dataset not in known:
            raise UnknownNameError("dataset with runs", dataset, known)


def model_and_pretrained(model: str) -> tuple[str, str]:
    """Architecture and weights of a model, as open_clip names them, without a path of this machine.

    >>> model_and_pretrained("ViT-B-32:openai"), model_and_pretrained("glyphs")
    (('ViT-B-32', 'openai'), ('glyphs', ''))
    >>> model_and_pretrained("ViT-B-32:/home/me/fine.pt"), model_and_pretrained("hf-hub:org/name")
    (('a local model (ViT-B-32:fine.pt)', ''), ('hf-hub:org/name', ''))
    """
    if model.startswith(LOCAL_DIR):
        return public_name(model), ""
    if model.startswith(HF_HUB) or ":" not in model or public_name(model) != model:
        return (public_name(model) if ":" in model else model), ""
    architecture, _, pretrained = model.partition(":")
    return architecture, pretrained


def _result(row: dict[str, Any]) -> dict[str, Any]:
    model, pretrained = model_and_pretrained(row["model"])
    metrics = {name: row[name] for name in ("acc1", "acc5", "mean_per_class_recall")}
    if row["n_classes"] < _FEWEST_CLASSES:
        del metrics["acc5"]
    return {
        "dataset": row["dataset"],
        "model": model,
        "pretrained": pretrained,
        "task": _TASKS.get(row["method"], FEW_SHOT),
        "metrics": {name: value for name, value in metrics.items() if value is not None},
        "method": row["method"],
        "shots": "all" if row["shots"] == ALL_SHOTS else row["shots"],
        **{
            name: row[name]
            for name in ("seed", "selected_on", "image_choice", "settings_fingerprint", "run_id")
        },
    }


def _file_name(result: dict[str, Any]) -> str:
    """The words of CLIP_benchmark's template, and the id that tells runs apart."""
    words = [result[name] for name in ("dataset", "pretrained", "model", "task", "method")]
    plain = [re.sub(r"[^A-Za-z0-9+]+", "-", each).strip("-")[:40] for each in words]
    return f"{'_'.join([*filter(None, plain), result['run_id']])}.json"


def _csv(results: Iterable[dict[str, Any]]) -> str:
    rows = [
        {
            **result["metrics"],
            **{name: value for name, value in result.items() if name != "metrics"},
            "model_fullname": f"{result['model']} {result['pretrained']}",
        }
        for result in results
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
