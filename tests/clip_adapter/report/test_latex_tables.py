"""Tables of LaTeX: their numbers, and a caption that says what chose what."""

import re
from collections.abc import Callable
from pathlib import Path

from clip_adapter.report import write_report

PutRuns = Callable[..., None]
PutSplits = Callable[..., list[str]]


def written(root: Path, tmp_path: Path) -> str:
    page = write_report(root, tmp_path / "tables" / "results.tex").page
    assert [path.name for path in page.parent.iterdir()] == ["results.tex"]
    return page.read_text()


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each method."""
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
    cells = [line.strip().removesuffix(r" \\").split(" & ") for line in body.strip().splitlines()]
    return {name: values for name, *values in cells}


def test_a_table_has_a_row_a_method_and_a_column_a_number_of_shots(
    digits: Path, tmp_path: Path
) -> None:
    text = written(digits, tmp_path)
    assert r"method & 0 & 1 & 4 \\" in text
    assert r"\begin{tabular}{lrrr}" in text
    found = rows(text)
    assert found["zero-shot"] == [r"$\mathbf{60.0}$", "", ""]
    # 140, 142 and 144 of 200: 71 % with t(0.975, 2) = 4.303 times 1 % over the root of 3.
    assert found["clip-adapter"][1] == r"$\mathbf{71.0} \pm 2.5$"
    assert found["linear-probe"][2] == r"$\mathbf{85.0} \pm 0.0$"


def test_the_caption_says_what_chose_what(digits: Path, put_runs: PutRuns, tmp_path: Path) -> None:
    put_runs([150] * 3, method="gda", selected_on="held-out shots", settings_fingerprint="g")
    put_runs([190] * 3, method="gda", selected_on="test (oracle)", settings_fingerprint="o")
    caption = re.search(r"\\caption\{(.*)\}\n", written(digits, tmp_path))
    assert caption is not None
    said = caption[1]
    assert "stated defaults (zero-shot)" in said
    assert "chosen on validation images (clip-adapter and linear-probe)" in said
    assert "chosen on held-out training images (gda)" in said
    assert "chosen on the test images themselves, which is no result (gda (oracle))" in said
    assert "200 images" in said
    assert r"95\,\% interval" in said


def test_equal_training_images_have_no_interval(
    root: Path, put_runs: PutRuns, put_splits: PutSplits, tmp_path: Path
) -> None:
    for seed, split in enumerate(put_splits([(1, 2)] * 3), 1):
        put_runs([150 + seed], seeds=[seed], split_fingerprint=split)
    text = written(root, tmp_path)
    assert rows(text)["clip-adapter"] == [r"$\mathbf{76.0}^{\dagger}$"]
    assert r"$\dagger$: all seeds train on the same images." in text


def test_names_are_typeset_as_they_are(root: Path, put_runs: PutRuns, tmp_path: Path) -> None:
    put_runs([150] * 3, dataset="50%_of {a} \\cmd & [b]", method="[*]--x", model="~m^2\n\x1b#$")
    text = written(root, tmp_path)
    assert r"50\%\_of \{a\} \textbackslash{}cmd \& {[}b{]}" in text
    assert list(rows(text)) == ["{[}{*}{]}-{}-x"]
    assert r"\textasciitilde{}m\textasciicircum{}2\textbackslash{}n\textbackslash{}x1b\#\$" in text
    without_escapes = re.sub(r"\\[{}]", "", text)
    assert without_escapes.count("{") == without_escapes.count("}")
    assert text.isprintable() or set(text) - set(filter(str.isprintable, text)) == {"\n"}


def test_every_dataset_has_a_table_of_its_own(
    root: Path, put_runs: PutRuns, tmp_path: Path
) -> None:
    put_runs([150] * 3)
    put_runs([100] * 3, dataset="letters", n_leaked=7)
    text = written(root, tmp_path)
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert len(labels) == len(set(labels)) == text.count(r"\begin{table}") == 2
    assert text.count("7 test images also occur among the training images.") == 1
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
