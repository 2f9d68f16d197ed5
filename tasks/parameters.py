"""Types of parameters that several flows have; Prefect checks them before any work."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from clip_adapter.shots import ALL_SHOTS

__all__ = ["Fraction", "Methods", "Seeds", "Shots"]


def _counted(value: Any) -> Any:
    return ALL_SHOTS if value == "all" else value


_Shot = Annotated[
    int,
    Field(ge=1, le=ALL_SHOTS),
    BeforeValidator(_counted),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}]}),
]
Shots = Annotated[list[_Shot], Field(min_length=1)]
"""Labelled images a class, or "all"."""
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
"""Each of a few-shot choice, initialisation and visiting order."""
Methods = Annotated[list[str], Field(min_length=1)]
"""Names of methods."""
Fraction = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, 0 to 1."""
