"""A process that has imported everything and forks an extraction for each order it reads.

Importing torch takes seconds, a fork milliseconds: so a test can afford to kill fifty extractions.
Orders and answers are lines of JSON; an extraction writes each step into an event log.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from system_calls import SystemCalls, kill_this_process

BATCH_SIZE = 5  # the views of an image fall into two batches now and then
Order = dict[str, Any]


def main() -> None:
    # Not at the top: a spawned process that loads images imports this file, too.
    import pyarrow as pa  # noqa: PLC0415
    import steps  # noqa: F401, PLC0415  # else every fork imports it
    import torch  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    import clip_adapter.pipeline.encode  # noqa: PLC0415
    import clip_adapter.pipeline.index  # noqa: F401, PLC0415
    from clip_adapter.encoders import load_encoder, weights_key  # noqa: PLC0415

    pa.array([""])  # imports pandas where it is installed
    Image.init()
    torch.set_num_threads(1)
    encoder = load_encoder(sys.argv[1], batch_size=BATCH_SIZE)
    weights_key(sys.argv[1])  # else every fork digests the code
    answer("ready" if not threads() else threads())
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer(status_of(order["wait"], block=True))
        elif "poll" in order:
            answer(status_of(order["poll"], block=False))
        else:
            answer(fork(order, encoder))


def threads() -> list[str]:
    """Names of threads whose locks a fork would inherit, without those of Arrow's allocator."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")][1:]
    return [name for name in names if name != "jemalloc_bg_thd"]


def answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def status_of(pid: int, *, block: bool) -> int | None:
    """Exit code of a process, negative for a signal; None while it runs."""
    ended, status = os.waitpid(pid, 0 if block else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def fork(order: Order, encoder: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()  # so that a test can reach it together with what it starts
        redirect(order["event_log"])
        code = run(order, encoder)
    except BaseException:  # noqa: BLE001  # it must not get into the loop of the parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def redirect(event_log: str) -> None:
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    os.dup2(os.open(f"{event_log}.stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)


def run(order: Order, encoder: Any) -> int:
    """Run the extraction in small steps and return the exit code of the command."""
    from steps import encode_dataset, index_dataset  # noqa: PLC0415  # see main

    from clip_adapter.pipeline.encode import Part  # noqa: PLC0415  # see main
    from clip_adapter.pipeline.encoding import Encoding  # noqa: PLC0415  # see main

    event_log, root = EventLog(Path(order["event_log"])), Path(order["root"])
    take_small_steps(order, event_log, encoder)
    calls = SystemCalls(root, lambda number: number == order["die_at"], kill_this_process)
    vars(os).update(calls.replacements)
    # As clip_adapter.cli.app does; a deployed run gets such a handler from Prefect.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    event_log.note("indexing")
    try:
        indexed = index_dataset(f"imagefolder:{order['photos']}", root=root, data=root)
        encoding = Encoding(
            model=order["model"], views=order["views"], processes=order["processes"]
        )
        number, of = order["part"]
        part = Part(number=number, of=of) if of else None
        if part:  # each stands for a machine of its own
            os.environ["CLIP_ADAPTER_ENCODERS"] = str(of)
        encoded = encode_dataset(indexed, encoding, part=part)
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:
        return int(stop.code or 0)
    event_log.note("done", encoded.n_encoded, encoded.n_reused, calls.n_calls)
    return 0


class EventLog:
    """Lines with a time in a file that outlives the process that writes them."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._write = os.write  # the original, also where a test replaces it

    def note(self, *words: object) -> None:
        self._write(self._file, f"{json.dumps([time.monotonic(), *words])}\n".encode())

    def before(self, word: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            self.note(word)
            return function(*args, **kwargs)

        return noted

    def after_rows(
        self, word: str, function: Callable[..., Any], *, pause: float
    ) -> Callable[..., Any]:
        def noted(encoder: Any, rows: Any) -> Any:
            time.sleep(pause)
            result = function(encoder, rows)
            self.note(word, len(rows))
            return result

        return noted


def take_small_steps(order: Order, event_log: EventLog, encoder: Any) -> None:
    """Use small batches and files, and log every step; this process runs one extraction only."""

    from clip_adapter import encoders  # noqa: PLC0415  # see main
    from clip_adapter.encoders import Encoder  # noqa: PLC0415  # see main
    from clip_adapter.images import loading  # noqa: PLC0415  # see main
    from clip_adapter.pipeline import encode, feature_writer  # noqa: PLC0415  # see main

    loading_module: Any = encoders
    module: Any = encode
    load = partial(loading_module.load_encoder, batch_size=BATCH_SIZE)
    if order["loaded"]:
        load = lambda *_, **__: encoder  # noqa: E731
    loading_module.load_encoder = event_log.before("loading", load)
    module.compact_folder = event_log.before("merging", module.compact_folder)
    module.FILES_WORTH_MERGING = order["files_worth_merging"]
    loading.PICTURES_A_PIECE = 1
    feature_writer.WRITE_EVERY_SECONDS = order["write_every_seconds"]
    towers: Any = Encoder
    towers.encode_images = event_log.after_rows(
        "encoded", towers.encode_images, pause=order["pause"]
    )
    towers.encode_prompts = event_log.before("prompts", towers.encode_prompts)


if __name__ == "__main__":
    main()
