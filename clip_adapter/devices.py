"""One rule for where tensors live."""

from clip_adapter.errors import ClipAdapterError


class DeviceError(ClipAdapterError, RuntimeError):
    """A device this machine does not have."""


def choose_device(asked: str = "auto") -> str:
    """The device asked for; with "auto" CUDA, else Apple's MPS, else the CPU.

    Raises:
        DeviceError: for a device that is not there.
    """
    if asked == "cpu":
        return asked
    import torch  # noqa: PLC0415  # seconds, for whoever computes

    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if asked == "auto":
        return available[0]
    if asked.partition(":")[0] not in available:
        message = f"device {asked!r} is not on this machine; it has {', '.join(available)}"
        raise DeviceError(message)
    return asked
