import pytest

from clip_adapter.devices import choose_device
from clip_adapter.errors import UnavailableError


def test_left_to_itself_it_finds_a_device() -> None:
    assert choose_device("auto").partition(":")[0] in {"cpu", "cuda", "mps"}


def test_the_processor_is_always_there() -> None:
    assert choose_device("cpu") == "cpu"


def test_a_device_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UnavailableError, match=r"'tpu' is not on this machine; it has .*cpu"):
        choose_device("tpu")
