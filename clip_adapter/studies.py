"""The names of the paper's ablations, as the command, the flow and the deployments take them."""

from typing import Literal, get_args

__all__ = ["STUDY_NAMES", "StudyName"]

StudyName = Literal[
    "bottleneck-width",
    "residual-ratio",
    "branch",
    "prompt-style",
    "views",
    "output-activation",
    "ratio-mode",
]

STUDY_NAMES: tuple[StudyName, ...] = get_args(StudyName)
