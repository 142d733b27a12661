"""Run a function for many items in other processes, of this machine or of a Dask cluster."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from hwroute.errors import InputError, ToolMissingError

Item = TypeVar("Item")
Results = Generator[tuple[Item, Any], None, None]
"""Items with their results, as they come."""
CONNECT_SECONDS, WATCH_SECONDS = 10, 0.5


class Died:
    """In place of a result: whatever process works on the item dies."""


def run_local(
    function: Callable[[Item], Any], items: Sequence[Item], workers: int | None = None
) -> Results[Item]:
    """Yield items with their results as they come, from processes of this machine.

    A process that dies, as for want of memory, takes the pool with it: what was under way is run
    again, each item in a pool of its own, so that only the one that is at fault is lost.

    Parameters
    ----------
    function
        What is run. It must not raise.
    items
        For what.
    workers
        Processes; as many as there are cores by default.
    """
    import loky

    width = min(workers or loky.cpu_count(), len(items))
    waiting = deque(items)
    while waiting:
        pending: dict[Future[Any], Item] = {}
        with _pool(width) as pool, suppress(BrokenExecutor):
            while waiting or pending:
                # No more than there are processes, so that few are suspects.
                while waiting and len(pending) < width:
                    pending[pool.submit(function, waiting[0])] = waiting[0]
                    waiting.popleft()
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield pending.pop(future), result
        for future, item in pending.items():
            yield item, future.result() if _finished(future) else _alone(function, item)


def _finished(future: "Future[Any]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _alone(function: Callable[[Item], Any], item: Item) -> Any:
    with _pool(1) as pool:
        future = pool.submit(function, item)
        return Died() if isinstance(future.exception(), BrokenExecutor) else future.result()


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Start processes, and end them at once at the end."""
    from loky.process_executor import ProcessPoolExecutor

    pool = ProcessPoolExecutor(max_workers=workers, initializer=_follow, initargs=(os.getpid(),))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _follow(parent: int) -> None:
    """Leave Ctrl-C to the process that started this one, and end when that has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_without, args=(parent,), daemon=True).start()


def _end_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def run_on_cluster(
    function: Callable[[Item], Any], items: Sequence[Item], scheduler: str
) -> Results[Item]:
    """Yield items with their results as they come, from the workers of a Dask cluster.

    Parameters
    ----------
    function, items
        As in `run_local`. Workers need the same hwroute.
    scheduler
        Its address, such as ``tcp://host:8786``.

    Raises
    ------
    ToolMissingError
        Dask is not installed.
    InputError
        No scheduler answers.
    """
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise ToolMissingError("--scheduler needs Dask: pip install 'hwroute[cluster]'") from error
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(f"scheduler {scheduler!r} must answer: {error}") from error
    with client, client.get_executor() as pool:
        pending = {pool.submit(function, item): item for item in items}
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                item = pending.pop(future)
                # Dask itself tries again on other workers before it gives up.
                killed = isinstance(future.exception(), KilledWorker)
                yield item, Died() if killed else future.result()
