"""The `clip-adapter` command: talks to a person, leaves the work to the flows and libraries."""

from clip_adapter.cli.app import main as main
