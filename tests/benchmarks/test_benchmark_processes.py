from benchmarks.processes import call_alone

MEGABYTE = 10**6


def fill(*, megabytes: int) -> int:
    return len(b"x" * (megabytes * MEGABYTE))


def test_the_peak_is_that_of_the_function_and_not_of_who_calls_it() -> None:
    held = b"x" * (300 * MEGABYTE)
    little, much = call_alone(fill, megabytes=1), call_alone(fill, megabytes=200)
    assert (little.answer, much.answer) == (MEGABYTE, 200 * MEGABYTE)
    # An interpreter with this test's imports is far below what the caller holds.
    assert little.peak_bytes < len(held)
    # Interpreters differ by a few megabytes from start to start.
    assert much.peak_bytes - little.peak_bytes > 180 * MEGABYTE
