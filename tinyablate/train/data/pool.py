"""Work on the files of one source in several processes, results in order; it knows nothing of images."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tinyablate.errors import WorkError

Origin = TypeVar("Origin")
Task = TypeVar("Task")
Result = TypeVar("Result")


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_for(files: int, worth: int) -> int:
    """Processes that are soonest done with `files`; fewer than `worth` are not worth a further one (0.5 s to start)."""
    return max(1, min(cores(), files // worth))


def in_order(
    work: Callable[[Origin, Task], Result], source: Origin, tasks: Sequence[Task], workers: int
) -> Iterator[Result]:
    """`work(source, task)` for each task, by `workers` processes (1: by this one), in the order of the tasks.

    `work` is a function of a module, `source` what the files are read from, opened once by each process. Raises what
    `work` raises, and WorkError when a process dies.
    """
    if workers == 1:
        yield from (work(source, task) for task in tasks)
        return
    # spawn: a fork of a process that runs threads (torch, rich) may hang, and would inherit the lock on the data home.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare_worker, (source,))
    try:
        # Not pool.map: when a worker dies, it cancels futures that the pool's own thread is failing, and both trip.
        for future in [pool.submit(_work_here, work, task) for task in tasks]:
            yield future.result()
    except BrokenProcessPool as error:
        raise WorkError("a process that read images died; was it killed for want of memory?") from error
    finally:
        pool.shutdown(cancel_futures=True)


_source: Any
"""What this worker process reads from; opened once when it starts."""


def _work_here(work: Callable[[Any, Task], Result], task: Task) -> Result:
    return work(_source, task)


def _prepare_worker(source: Any) -> None:
    """Ctrl-C is the parent's to handle; and a worker whose parent was killed would wait for work for ever."""
    global _source
    _source = source
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
