"""What Prefect adds to the pipeline: tasks with retries, Dask, artifacts, events and deployments.

The work itself is in `clip_adapter.pipeline`, which knows nothing of Prefect.
"""
