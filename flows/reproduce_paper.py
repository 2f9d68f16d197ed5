"""One of the paper's ablations, or its methods on every dataset, under one protocol."""

from typing import Any

from prefect import flow, get_run_logger

from clip_adapter.pipeline.ablations import Reproduction, reproduce
from clip_adapter.pipeline.reproduce_all import ReproducedDatasets, reproduce_all
from clip_adapter.pipeline.requests import ALL_DATASETS, ReproduceRequest, accepts
from tasks.executor import PrefectExecutor, choose_task_runner
from tasks.flow_runs import fails_with_reason, run_name
from tasks.reporter import PrefectReporter


@flow(
    name="reproduce-paper",
    flow_run_name=run_name,
    result_serializer="json",
    task_runner=choose_task_runner(),
)
@fails_with_reason
@accepts(ReproduceRequest)
def reproduce_paper(request: ReproduceRequest) -> Reproduction | ReproducedDatasets:
    """Train CLIP-Adapter once for every variant of a study, shot and seed.

    On the dataset "all" the study is trained on every known one whose images are present; the flow run
    fails at the end if it failed on one of them.
    """
    how: dict[str, Any] = {"executor": PrefectExecutor(), "reporter": PrefectReporter()}
    if request.dataset == ALL_DATASETS:
        every = reproduce_all(request, **how)
        for line in every.summary:
            get_run_logger().info(line)
        every.check()
        return every
    done = reproduce(request, **how)
    get_run_logger().info(
        f"{done.study}: {done.n_trained} runs trained, {done.n_reused} recorded already"
    )
    return done
