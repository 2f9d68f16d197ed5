"""Names are printed as they were given: rich reads no markup and no emoji code in them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_adapter import train
from clip_adapter.progress import bar
from clip_adapter.terminal import plain_console
from feature_cache.exchange import LabelledFeatures, import_features, texts_of_file, write_npz

Command = Callable[..., Any]
NAME = ":cat: [red]x[/b]"
FOLDER = ":cat: [red]y"
SPLITS = ("train", "val", "test")


def features() -> LabelledFeatures:
    """150 features that lie near the text of another class, so that zero-shot is always wrong."""
    random = np.random.default_rng(0)
    texts = random.normal(size=(3, 16)).astype(np.float32)
    labels = np.arange(150) % 3
    return LabelledFeatures.from_arrays(
        source="x",
        features=texts[labels - 1] + random.normal(size=(150, 16), scale=0.1).astype(np.float32),
        labels=labels,
        class_names=[f"{NAME} {number}" for number in range(3)],
        splits=[SPLITS[row // 50] for row in range(150)],
        text_features=texts,
    )


@pytest.fixture(name="place", scope="module")
def _place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a champion, and one with a damaged and a temporary file, in a folder so named."""
    place = tmp_path_factory.mktemp("names") / FOLDER
    given = features()
    write_npz(place / "x.npz", given)
    root, name = place / "store", "cat"
    import_features(root, given, name=name, label=NAME, texts=texts_of_file(given))
    train(
        f"features:{name}", methods=["linear-probe"], shots=[1], seeds=[1], promote=True, root=root
    )
    broken = place / "broken" / "datasets" / "dog" / "images"
    broken.mkdir(parents=True)
    (broken / f"{'0' * 64}.parquet").write_bytes(b"damaged")
    unfinished = broken / f".{'0' * 64}.{'0' * 16}.tmp"
    unfinished.touch()
    os.utime(unfinished, (0, 0))
    return place


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["cache", "import", "{place}/x.npz", "--name", "cat", "--label", NAME], "features:cat: "),
        (["cache", "stats"], NAME),
        (["cache", "verify", "--deep", "--root", "{place}/broken"], FOLDER),
        (["cache", "gc", "--dry-run", "--root", "{place}/broken"], FOLDER),
        (["cache", "export", "--dataset", "cat", "--to", "{place}/out.npz", "--overwrite"], FOLDER),
        (["cache", "why", "--dataset", "cat", "--model", "{model}"], NAME),
        (["extract", "features:cat"], NAME),
        (["train", "features:cat", "--methods", "zero-shot", "--shots", "1"], NAME),
        (["extract", "features:cat", "features:cat"], NAME),
        (["compare", "zero-shot", "linear-probe", "--dataset", "cat", "--shots", "1"], NAME),
        (["champion", "cat"], NAME),
        (["champion", "cat", "--history"], NAME),
        (["datasets"], "features:cat"),
        (["report", "--to", "{place}/page.html"], FOLDER),
        (["sql", f"SELECT '{NAME}' AS \"{NAME}\""], NAME),
        (["sql", f"SELECT '{NAME}', * FROM runs"], NAME),
        (["train", NAME], NAME),
        (["cache", "why", "--dataset", NAME], NAME),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:3]),
)
def test_a_name_is_printed_as_it_was_given(
    command: Command, place: Path, tiny_model: str, arguments: list[str], printed: str
) -> None:
    given = (each.replace("{place}", str(place)) for each in arguments)
    filled = [each.replace("{model}", tiny_model) for each in given]
    place_named = [] if "--root" in filled else ["--root", place / "store"]
    outcome = command(*filled, *place_named)
    shown = " ".join((outcome.out + outcome.err).split())
    assert printed.strip() in shown
    assert "\N{CAT}" not in shown


def test_the_bar_of_a_terminal_describes_the_work_as_it_was_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with bar(NAME, total=1, unit="images", console=plain_console()) as advance:
        advance(1)
    assert NAME in capsys.readouterr().out
