"""The background service of a checkout: a Prefect server and a worker, started, supervised, stopped.

Prefect runs in processes of its own and is not imported here. The library does not import this
package: `clip-adapter` finds its commands by the entry points of `service/pyproject.toml`.
"""
