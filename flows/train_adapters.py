"""The main job: features from the store, few-shot methods on top, results recorded."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from clip_adapter.devices import choose_device
from clip_adapter.pipeline.requests import TrainRequest, accepts
from clip_adapter.pipeline.train import Training, train
from tasks.executor import PrefectExecutor, choose_task_runner
from tasks.flow_runs import fails_with_reason, run_name
from tasks.late_runs import skip_if_late
from tasks.publishing import (
    emit_regression,
    is_published,
    prepare_to_draw,
    publish_leaderboard,
    publish_summary,
)
from tasks.reporter import PrefectReporter


@flow(
    name="train-adapters",
    flow_run_name=run_name,
    result_serializer="json",
    task_runner=choose_task_runner(),
)
@fails_with_reason
@accepts(TrainRequest)
def train_adapters(request: TrainRequest) -> "State[Any]":
    """Train every method at every shot and seed; a run that is recorded is not trained again.

    Where nothing was left to do the flow run ends in the state UpToDate; the leaderboard and the
    summary are published even then if the UI shows those of another state of the dataset.
    """
    if skipped := skip_if_late():
        return skipped
    done = train(
        request,
        executor=PrefectExecutor(prepare=prepare_to_draw),
        reporter=PrefectReporter(),
        on_regression=emit_regression,
    )
    for line in done.summary:
        get_run_logger().info(line)
    root, dataset = done.encoded.dataset.root, done.encoded.dataset.name
    if not (done.is_up_to_date and is_published(root=root, dataset=dataset)):
        publish_summary(done, device=choose_device(request.device))
        publish_leaderboard(root=root, dataset=dataset)  # last: where it is shown, all is
    return _final_state(done)


def _final_state(done: Training) -> State[Training]:
    """The state with what was done as its message; a caller of the flow gets the result all the same."""
    if not done.is_up_to_date:
        return Completed(message="; ".join(done.summary), data=done)
    message = f"{done.encoded.n_reused} features and {done.runs.n_reused} runs recorded"
    if done.promotion:
        message += f"; {done.promotion.summary}"
    return Completed(name="UpToDate", message=message, data=done)
