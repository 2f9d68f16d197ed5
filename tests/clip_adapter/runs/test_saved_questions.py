"""Questions with names are files of SQL, of the package and of a store."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs import (
    RunStoreError,
    SavedQuestion,
    adjust_p_values,
    find_question,
    paired_difference,
    query,
    saved_questions,
)

PACKAGED = saved_questions()
TEXT = """\
-- Runs of a dataset.
-- $dataset = "eurosat": name of the dataset
-- $shots: images a class
SELECT run_id FROM runs WHERE dataset = $dataset AND shots = $shots
"""


@pytest.fixture(name="put")
def _put(tmp_path: Path) -> Path:
    folder = tmp_path / "questions"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", PACKAGED)
def test_a_question_of_the_package_is_sound_and_runs_on_an_empty_store(
    tmp_path: Path, name: str
) -> None:
    question = PACKAGED[name]
    question.check()
    if not any(each.is_required for each in question.parameters.values()):
        assert query(tmp_path, question.statement, question.values({})).num_columns > 0


def test_the_header_describes_the_question_and_its_parameters() -> None:
    question = SavedQuestion.parse(TEXT, name="runs-of")
    question.check()
    assert question.description == "Runs of a dataset."
    assert question.values({"shots": 4}) == {"dataset": "eurosat", "shots": 4}
    assert question.values({"shots": 4, "dataset": None})["dataset"] is None
    with pytest.raises(RunStoreError, match=r"needs the parameter 'shots' \(images a class\)"):
        question.values({})
    with pytest.raises(UnknownNameError, match="did you mean 'shots'"):
        question.values({"shot": 4})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1", "begins with no comment"),
        ("-- One.\nSELECT $x", r"uses the parameters \$x and declares none"),
        ("-- One.\n-- $x = 1: unused\nSELECT 1", r"uses the parameters none and declares \$x"),
        ("-- One.\n-- $x = one: a\nSELECT $x", "expected JSON"),
        ("-- One.\n-- $x = 1: a\n-- $x = 2: a\nSELECT $x", "twice"),
        ("-- One.\nSELECT 1; SELECT 2", "found 2 statements"),
        ("-- One.\nCOPY runs TO 'x'", "type COPY"),
    ],
)
def test_an_unsound_question_is_refused(text: str, message: str) -> None:
    with pytest.raises(RunStoreError, match=message):
        SavedQuestion.parse(text, name="q").check()


def test_a_file_without_a_header_is_a_statement(tmp_path: Path) -> None:
    question = SavedQuestion.parse("select 1 as n")
    assert (question.description, question.parameters) == ("", {})
    assert query(tmp_path, question.statement).num_rows == 1


def test_a_store_has_questions_of_its_own(tmp_path: Path, put: Path) -> None:
    (put / "runs-of.sql").write_text(TEXT)
    assert find_question("runs-of", tmp_path).description == "Runs of a dataset."
    assert saved_questions(tmp_path).keys() - saved_questions().keys() == {"runs-of"}


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'hard-classes'"):
        find_question("hard-clases")


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path, put: Path) -> None:
    (tmp_path / "outside.sql").write_text(TEXT)
    (put / "linked.sql").symlink_to(tmp_path / "outside.sql")
    (put / "Upper.sql").write_text(TEXT)
    (put / "a\x1b[2J.sql").write_text(TEXT)
    (put / "folder.sql").mkdir()
    errors: list[RunStoreError] = []
    found = saved_questions(tmp_path, on_unusable=errors.append)
    assert found.keys() == saved_questions().keys()
    assert len(errors) == 2
    assert "the name of a question is of lower-case letters" in str(errors[0])
    assert "rename the file, as upper.sql" in " ".join(map(str, errors))
    for name in ("../outside", "linked", str(tmp_path / "outside"), "Upper"):
        with pytest.raises(UnknownNameError):
            find_question(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("hard-classes", TEXT.encode(), "has the name of a question of clip-adapter"),
        ("binary", b"-- \xff\nselect 1", "no text in UTF-8"),
        ("huge", b"-- a\n" + b" " * 70_000, "too large"),
        ("order", b"-- a\ncopy runs to 'x'", "type COPY"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, put: Path, *, name: str, content: bytes, message: str
) -> None:
    (put / f"{name}.sql").write_bytes(content)
    with pytest.raises(RunStoreError, match=message) as raised:
        find_question(name, tmp_path)
    assert find_question("best-ratio", tmp_path).name == "best-ratio"
    with pytest.raises(RunStoreError, match=message):
        saved_questions(tmp_path)
    assert name in str(raised.value)


@pytest.mark.parametrize(
    "p_values", [[0.04, 0.03, 0.3], [0.01, 0.04, 0.01, 0.02], [0.5, 0.9], [0.05]]
)
def test_the_verdicts_of_several_pairs_are_corrected_together(
    tmp_path: Path, p_values: list[float]
) -> None:
    one = paired_difference(np.array([[True]]), np.array([[False]]))
    pairs = [replace(one, p_value=value) for value in p_values]
    values = ", ".join(f"({place}, {value}::DOUBLE)" for place, value in enumerate(p_values))
    empty = "SELECT * EXCLUDE (shots, p_value, difference, method_a, method_b) FROM paired"
    given = (
        "WITH paired AS (SELECT *, 'a' AS method_a, 'b' AS method_b, 1.0 AS difference "
        f"FROM (VALUES {values}) AS made (shots, p_value) LEFT JOIN ({empty}) ON true), "
    )
    question = PACKAGED["is-better"]
    statement = given + question.statement.partition("WITH ")[2]
    rows = query(tmp_path, statement, question.values({"method_a": "a", "method_b": "b"}))
    found = {row["shots"]: (row["adjusted_p_value"], row["verdict"]) for row in rows.to_pylist()}
    expected = [(each.adjusted_p_value, each.verdict) for each in adjust_p_values(pairs)]
    assert [found[place] for place in range(len(p_values))] == expected


@pytest.mark.parametrize(("written", "value"), [('"a: b"', "a: b"), ('{"a": [1]}', {"a": [1]})])
def test_a_default_may_hold_a_colon(written: str, value: object) -> None:
    question = SavedQuestion.parse(f"-- Rows.\n-- $x = {written}: any value\nSELECT $x", name="q")
    assert question.parameters["x"].default == value
    assert question.parameters["x"].meaning == "any value"


def test_a_deep_default_is_refused_in_words() -> None:
    deep = "[" * 20_000
    with pytest.raises(RunStoreError, match="expected JSON"):
        SavedQuestion.parse(f"-- Rows.\n-- $x = {deep}: any value\nSELECT $x", name="q")


def test_a_linked_folder_of_questions_is_not_read(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.sql").write_text("-- One row.\nSELECT 1")
    store = tmp_path / "store"
    store.mkdir()
    (store / "questions").symlink_to(elsewhere)
    with pytest.raises(UnknownNameError):
        find_question("mine", store)
