"""Types of parameters that several flows have; Prefect checks them before any work."""

from typing import Annotated

from pydantic import Field

__all__ = ["Seed", "Shots"]

Shots = Annotated[int, Field(ge=1, lt=2**31)]
"""Labelled images a class."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""Of a few-shot choice, initialisation and visiting order."""
