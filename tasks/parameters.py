"""Types of parameters that several flows have; Prefect checks them before any work."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from clip_adapter.shots import ALL_SHOTS

__all__ = ["Seed", "Shots"]


def _counted(value: Any) -> Any:
    return ALL_SHOTS if value == "all" else value


Shots = Annotated[
    int,
    Field(ge=1, le=ALL_SHOTS),
    BeforeValidator(_counted),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}]}),
]
"""Labelled images a class, or "all"."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""Of a few-shot choice, initialisation and visiting order."""
