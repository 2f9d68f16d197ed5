"""One of the paper's ablations, on features from the store, under one protocol."""

from prefect import flow, get_run_logger

from clip_adapter.pipeline.ablations import Reproduction, reproduce
from clip_adapter.pipeline.requests import ReproduceRequest, accepts
from tasks.executor import PrefectExecutor, choose_task_runner
from tasks.reporter import PrefectReporter


@flow(name="reproduce-paper", result_serializer="json", task_runner=choose_task_runner())
@accepts(ReproduceRequest)
def reproduce_paper(request: ReproduceRequest) -> Reproduction:
    """Train CLIP-Adapter once for every variant of a study, shot and seed."""
    done = reproduce(request, executor=PrefectExecutor(), reporter=PrefectReporter())
    get_run_logger().info(
        f"{done.study}: {done.n_trained} runs trained, {done.n_reused} recorded already"
    )
    return done
