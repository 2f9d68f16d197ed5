"""The `clip-adapter` command: parses options, calls `clip_adapter.pipeline`, prints results."""

from clip_adapter.cli.app import main as main
