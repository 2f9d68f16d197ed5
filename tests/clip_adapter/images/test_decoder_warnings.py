import warnings
from threading import Barrier, Thread

from clip_adapter.images.decoding import SharedWarningFilter


def test_only_the_warnings_of_the_named_modules_are_silenced() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with SharedWarningFilter(r"PIL\."):
            warn_as("PIL.Image")
            warn_as("numpy.core")
        warn_as("PIL.Image")

    assert [str(each.message) for each in seen] == ["from numpy.core", "from PIL.Image"]


def test_threads_that_overlap_leave_the_filters_as_they_were() -> None:
    before = list(warnings.filters)
    shared = SharedWarningFilter(r"PIL\.")
    both_inside = Barrier(2)
    first_left = Barrier(2)

    def enter(*, leaves_last: bool) -> None:
        with shared:
            both_inside.wait(timeout=10)
            if leaves_last:
                first_left.wait(timeout=10)
        if not leaves_last:
            first_left.wait(timeout=10)

    threads = [Thread(target=enter, kwargs={"leaves_last": last}) for last in (False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert warnings.filters == before


def warn_as(module: str) -> None:
    warnings.warn_explicit(f"from {module}", UserWarning, "a.py", 1, module=module)
