"""Maintenance of a store: verify it, merge small files, remove what nothing refers to."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from clip_adapter.pipeline.maintain import Maintenance, maintain
from clip_adapter.pipeline.requests import MaintainRequest, accepts
from tasks.executor import PrefectExecutor
from tasks.flow_runs import fails_with_reason, run_name
from tasks.late_runs import skip_if_late
from tasks.publishing import publish_maintenance
from tasks.reporter import PrefectReporter


@flow(name="maintain-stores", flow_run_name=run_name, result_serializer="json")
@fails_with_reason
@accepts(MaintainRequest)
def maintain_stores(request: MaintainRequest) -> "Maintenance | State[Any]":
    """Verify, compact and clear up a store; other runs may read and write it meanwhile."""
    if skipped := skip_if_late():
        return skipped
    done = maintain(request, executor=PrefectExecutor(), reporter=PrefectReporter())
    publish_maintenance(done)
    get_run_logger().info(done.summary)
    done.verified.refuse_damage()
    return done
