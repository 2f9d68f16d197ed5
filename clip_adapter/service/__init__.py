"""A Prefect server and a worker of one's own on this machine: brought up, watched, ended.

By processes alone: nothing here imports Prefect. A supervisor in the background holds a file, starts
the others and starts them again when they die.
"""

from clip_adapter.service.control import State as State
from clip_adapter.service.control import bring_up as bring_up
from clip_adapter.service.control import state_of as state_of
from clip_adapter.service.control import take_down as take_down
from clip_adapter.service.environment import changed_names as changed_names
from clip_adapter.service.environment import service_environment as service_environment
from clip_adapter.service.errors import ServiceError as ServiceError
from clip_adapter.service.flow_runs import FlowRun as FlowRun
from clip_adapter.service.flow_runs import recent_runs as recent_runs
from clip_adapter.service.folder import ServiceFolder as ServiceFolder
