"""What a run was made with, and by which the same run is recognised."""

import dataclasses
import hashlib
import json
import platform
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

import clip_adapter
from clip_adapter.methods import Method
from clip_adapter.runs import Versions

__all__ = [
    "digest_code",
    "digest_settings",
    "digest_values",
    "git_commit",
    "peak_memory_bytes",
    "versions",
]

ROOMS_THAT_TRAIN = ("adapters", "methods", "training", "datasets")
TOWER = ("encoders/text_tower.py", "encoders/prompts.py")
"""What prompts are learned through; the other features are known by their encoder."""


def digest_values(**values: Any) -> str:
    """Sha256 of named values that JSON can write; the same values give the same digest."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_settings(method: Method, **prompts: Any) -> str:
    """Sha256 of a method with everything it was asked to try, and of the prompts it was given."""
    settings: Any = method  # a dataclass, which a protocol cannot say
    return digest_values(method=method.name, settings=dataclasses.asdict(settings), **prompts)


@cache
def digest_code() -> str:
    """Sha256 over the source of the rooms that decide what a run's numbers are."""
    package = Path(clip_adapter.__file__).parent
    digest = hashlib.sha256()
    rooms = [file for room in ROOMS_THAT_TRAIN for file in (package / room).rglob("*.py")]
    for path in sorted([*rooms, *(package / file for file in TOWER)]):
        digest.update(f"{path.relative_to(package)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def git_commit() -> str | None:
    """The commit of the checkout this code runs from; None outside a checkout."""
    checkout = Path(__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603  # constant words
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def versions() -> Versions:
    """The software this process runs."""
    return Versions(
        clip_adapter=clip_adapter.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        open_clip=open_clip.__version__,
        numpy=np.__version__,
    )


def peak_memory_bytes() -> int:
    """The most memory this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
