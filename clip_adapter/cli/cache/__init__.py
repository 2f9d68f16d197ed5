"""The cache commands: what is stored, is it sound, will it be reused, what can go."""

from clip_adapter.cli.cache.app import cache as cache
