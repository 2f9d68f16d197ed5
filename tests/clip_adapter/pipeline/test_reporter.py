import pytest

from clip_adapter.pipeline.reporter import Reporter


def test_where_nobody_looks_progress_is_a_line_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Reporter().progress("encoding", total=4, unit="images") as advance:
        advance(4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("encoding: done in 0 s, ")
    assert captured.err.endswith("images/s\n")


def test_work_that_fails_does_not_claim_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), Reporter().progress("work", total=1, unit="runs"):
        _ = 1 / 0
    assert capsys.readouterr().err == ""


def test_a_message_is_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter().log("quarantined [red]/a.jpg")
    assert capsys.readouterr().err == "quarantined [red]/a.jpg\n"
