"""Encode a dataset once; a second run finds everything stored."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.extract import extract
from clip_adapter.pipeline.requests import ExtractRequest, accepts
from tasks.executor import PrefectExecutor, choose_task_runner
from tasks.flow_runs import fails_with_reason, run_name
from tasks.late_runs import skip_if_late
from tasks.reporter import PrefectReporter


@flow(
    name="extract-features",
    flow_run_name=run_name,
    result_serializer="json",
    task_runner=choose_task_runner(),
)
@fails_with_reason
@accepts(ExtractRequest)
def extract_features(request: ExtractRequest) -> "EncodedDataset | State[Any]":
    """Index a dataset and encode the images and prompts that the store lacks."""
    if skipped := skip_if_late():
        return skipped
    encoded = extract(request, executor=PrefectExecutor(), reporter=PrefectReporter())
    get_run_logger().info(encoded.summary)
    return encoded
