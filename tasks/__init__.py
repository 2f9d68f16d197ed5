"""What Prefect adds to the pipeline: tasks with retries, Dask, artifacts, events and deployments.

The work itself is in `clip_adapter.pipeline`, which knows nothing of Prefect.
"""

import os

# Neither a flow that is called from Python nor the private server that Prefect starts for it sends telemetry.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
