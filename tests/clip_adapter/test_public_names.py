"""What `from clip_adapter import ...` gives: lazily imported, typed, and complete."""

import subprocess
import sys
from pathlib import Path

import pytest

import clip_adapter
from clip_adapter.runs import RunStoreError

FUNCTIONS = (
    *(
        "extract",
        "train",
        "train_all",
        "reproduce_all",
        "promote",
        "predict",
        "reproduce",
        "maintain",
        "similar",
        "load",
        "connect",
        "export",
        "update",
    ),
)
ESTIMATORS = (
    *("FewShotClassifier", "ClipAdapterClassifier", "TrainedClassifier", "CachedImageEncoder"),
)

WELL_TYPED = """
from clip_adapter import CachedImageEncoder, ClipAdapterClassifier, FewShotClassifier
from clip_adapter import ImageSearch, connect, extract, load, maintain, predict, promote
from clip_adapter import reproduce, reproduce_all, similar, train, train_all, update
from pathlib import Path

training = train("digits", shots=[1, 2], seeds=[1])
training.promotion
training.encoded.n_encoded + training.runs.n_trained
train("digits", "glyphs", methods=["gda"], root="store")
train(shots=[1])
promote("digits", max_relabelled_fraction=0.1).record.decision
extract(dataset="digits", views=2).images_per_second
reproduce("output-activation", "digits", recipe="fast").variants[0].n_trained
reproduce(study="views")
train_all(["digits"], ["glyphs"], shots=[1]).tables([1])[0].mean["gda"]
reproduce_all("paper", "all", root="store").tables()[0].rows
maintain(root="store").verified.n_files
similar("a red barn", dataset=["photos"], top=3).to_arrow()
ImageSearch.open("photos", in_memory=False).similar([1.0, 0.0]).n_compared
predict("champion:digits", ["a.png"], top=2).to_arrow()
predict(Path("a.safetensors"), Path("photos")).to_arrow()
load("champion:digits").predict_proba(["a.png"]).shape
update("champion:digits", {"00" * 32: "three", "11" * 32: None}, add_classes=["ten"]).saved.settings
with connect("store") as database:
    database.query("SELECT 1").to_pylist()
FewShotClassifier("gda", settings={"alphas": [1.0]}).fit([[1, 2]], [0]).predict([[1, 2]]).shape
ClipAdapterClassifier(residual_ratio=0.2).fit([[1, 2]], [0]).to_saved().settings
CachedImageEncoder("glyphs", root="store").fit(["a.png"]).transform(["a.png"]).shape
"""
BADLY_TYPED = """
from clip_adapter import CachedImageEncoder, ClipAdapterClassifier
from clip_adapter import extract, predict, reproduce, similar, train

train("digits", shotz=[1])
train("digits", shots="1")
extract("digits", views="two")
reproduce(study="the weather")
ClipAdapterClassifier(residual_ratios=[0.2])
CachedImageEncoder("glyphs", precision="fp8")
similar("a red barn", topp=3)
predict("a.safetensors", 3)
"""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_found_and_says_what_it_takes(name: str) -> None:
    function = getattr(clip_adapter, name)
    assert callable(function)
    assert "Args:" in (function.__doc__ or "")
    assert "root" in (function.__doc__ or "")


def test_every_name_can_be_completed() -> None:
    assert set(dir(clip_adapter)) >= {*FUNCTIONS, *ESTIMATORS, "ResidualAdapter", "logits"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'clip_adapter' has no attribute 'trian'"):
        clip_adapter.trian  # type: ignore[attr-defined]  # noqa: B018  # asking is the test


def test_connecting_finds_the_store_as_the_commands_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_ROOT", str(tmp_path))
    with clip_adapter.connect() as database:
        assert database.query("SELECT count(*) AS n FROM runs").to_pylist() == [{"n": 0}]
    with pytest.raises(RunStoreError):
        clip_adapter.connect(tmp_path / "nowhere")
    monkeypatch.delenv("CLIP_ADAPTER_ROOT")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip-adapter-store").mkdir()
    clip_adapter.connect().close()


@pytest.mark.slow
@pytest.mark.parametrize(("text", "n_wrong"), [(WELL_TYPED, 0), (BADLY_TYPED, 8)])
def test_a_type_checker_knows_the_parameters(tmp_path: Path, text: str, n_wrong: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(text)
    config = Path(clip_adapter.__file__).parents[1] / "pyproject.toml"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(config), str(script)],
        cwd=config.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(wrong) == n_wrong, done.stdout + done.stderr
