"""The choice of a device."""

from clip_adapter.errors import UnavailableError


def choose_device(requested: str = "auto") -> str:
    """The requested device; with "auto" CUDA, else Apple's MPS, else the CPU.

    Raises:
        UnavailableError: this machine has no such device.
    """
    if requested == "cpu":
        return requested
    import torch  # noqa: PLC0415  # takes seconds

    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if requested == "auto":
        return available[0]
    if requested.partition(":")[0] not in available:
        message = f"device {requested!r} is not on this machine; it has {', '.join(available)}"
        raise UnavailableError(message)
    return requested
