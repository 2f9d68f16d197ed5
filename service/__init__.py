"""The background service of a checkout: a Prefect server and a worker, started, supervised, stopped.

Server and worker run in processes of their own. Only `prefect_runs`, for commands with `--prefect`,
imports a flow and with it Prefect, when it is called. The library does not import this package:
`clip-adapter` finds its commands by the entry points of `service/pyproject.toml`.
"""
