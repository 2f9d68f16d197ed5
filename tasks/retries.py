"""What is worth trying again: storage beyond this machine that did not answer for a moment.

Everything else is not. An error about the data, the model or the settings is the same the next
time, and a full disk is not emptied by waiting. Flows have no retries of their own (together with a
concurrency limit Prefect ends such a run as Crashed); whatever a run could not finish, the next one
takes up, since what is done is at rest.
"""

import errno
from typing import Any

from feature_cache import ObjectStoreError

PAUSES_SECONDS = [2.0, 10.0, 60.0]
"""A connection that was reset; a mount that comes back; a file server that restarts."""
RETRIES = len(PAUSES_SECONDS)

_PASSING = frozenset(
    {
        errno.EIO,  # a network folder whose server went away says so, as a failing disk does
        errno.ESTALE,  # the server of a network folder restarted
        errno.EAGAIN,
        errno.EBUSY,
        errno.ETIMEDOUT,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
    }
)


def is_transient(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, may be gone in a minute."""
    while error is not None:
        if isinstance(error, ObjectStoreError | TimeoutError | ConnectionError):
            return True
        if isinstance(error, OSError) and error.errno in _PASSING:
            return True
        error = error.__cause__
    return False


def when_transient(_task: Any, _task_run: Any, state: Any) -> bool:
    """The same as Prefect asks it: a task's `retry_condition_fn`."""
    return isinstance(state.data, BaseException) and is_transient(state.data)
