"""The processes beside the main process: workers, and the admin listener's.

A process sends signs of life over a socket of its own, the first when it answers requests. It has START_SECONDS until
then, as a busy machine imports slowly, and must not be silent for HANG_SECONDS after that. Both are counted in looks,
one each TICK_SECONDS: if the whole gateway was stopped or delayed, no process counts as silent for that. Nothing here
knows uvicorn: server.py has what runs in the processes.
"""

import asyncio
import logging.config
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol

from gateway.adapters.logs.error_log import START
from gateway.adapters.logs.hangups import HANGUPS, held_back
from gateway.cli.lazy import load
from gateway.cli.process.masked import mask, mask_errors
from gateway.core.errors import GatewayError, StartFailed
from gateway.settings import read_log_settings

TICK_SECONDS = 0.1
"""Seconds between two looks at a process."""
BEAT_SECONDS = 1.0
"""Seconds between two signs of life of a process."""
START_SECONDS = 120.0
"""Seconds for a process to come up: a hundred times what it takes on an idle machine."""
HANG_SECONDS = 10.0
"""Seconds without a sign of life after which a process that was up counts as hung: twice what uvicorn allows."""
RESTART_SECONDS = 1.0
"""Seconds before the restart of a process that was never up, or of the admin listener's."""
STOP_SLACK_SECONDS = 1.0
"""Seconds for the rest of a stop, when the requests in progress have ended or were aborted."""

WORKER = "gateway.cli.process.server:run_worker"
ADMIN = "gateway.cli.process.server:run_admin"

logger = logging.getLogger(__name__)


def build_logging(form: str, level: str) -> dict[str, Any]:
    """Build the logging configuration of each process: everything goes to standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"()": "gateway.adapters.logs.error_log.ErrorLog", "form": form}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            START: {"level": "INFO"},
            # It logs every change of a file; the policies log the result themselves.
            "watchfiles": {"level": "WARNING"},
        },
    }


@contextmanager
def begin_process() -> Iterator[None]:
    """Log as the settings say, even if others are invalid; a GatewayError is logged, and ends the process."""
    mask_errors()
    logging.config.dictConfig(build_logging(*read_log_settings()))
    try:
        yield
    except GatewayError as error:
        logging.getLogger(START).error("%s", mask(str(error)))  # noqa: TRY400 - the advice matters, not the stack
        sys.exit(2)


class Beats:
    """How long a process has been silent, in looks."""

    def __init__(self) -> None:
        self.is_up = False
        self._silent_ticks = 0

    def record_look(self, has_beaten: bool) -> str:
        """Take in the result of a look. Return what is wrong with the process, or an empty text."""
        self.is_up |= has_beaten
        self._silent_ticks = 0 if has_beaten else self._silent_ticks + 1
        if self._silent_ticks * TICK_SECONDS < (HANG_SECONDS if self.is_up else START_SECONDS):
            return ""
        return f"has hung for {HANG_SECONDS:g} s" if self.is_up else f"was not up after {START_SECONDS:g} s"


class Child:
    """A process that serves a listener and sends signs of life. `place` is `module:function`; see `_run`.

    If this process ends in any way, the child stops as if it were asked to, within `stop_seconds`.
    """

    def __init__(self, place: str, listener: socket.socket, name: str, stop_seconds: float) -> None:
        self._beats = Beats()
        self._ear, mouth = socket.socketpair()
        self._ear.setblocking(False)
        context = multiprocessing.get_context("spawn")
        # A daemon, to Python, is terminated if the gateway ends in any other way than by a stop.
        given = (place, listener, mouth, stop_seconds)
        self._process = context.Process(target=_run, args=given, name=name, daemon=True)
        with held_back():
            self._process.start()
        mouth.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def is_up(self) -> bool:
        """Whether it has ever answered requests."""
        return self._beats.is_up

    @property
    def exit_code(self) -> int | None:
        """Its exit code; negative for the signal that ended it, None while it runs."""
        return self._process.exitcode

    def look(self) -> str:
        """Return what is wrong with it, or an empty text; call this every TICK_SECONDS."""
        if self.exit_code is not None:
            return f"ended with {self.exit_code}"
        has_beaten = False
        with suppress(OSError):  # there is nothing to read
            has_beaten = bool(self._ear.recv(4096))
        return self._beats.record_look(has_beaten)

    def reload(self) -> None:
        """Make it reload the policies and reopen its logs."""
        if self.exit_code is None:
            os.kill(self.pid, signal.SIGHUP)

    def terminate(self) -> None:
        """Ask it to stop, which lets requests in progress end."""
        self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait until it has ended, but at most this long."""
        self._process.join(seconds)

    def kill(self) -> None:
        """Kill it at once."""
        self._process.kill()
        self._process.join()
        self._ear.close()


class Worker(Protocol):
    """The part of a Child that Workers use."""

    @property
    def pid(self) -> int: ...
    @property
    def is_up(self) -> bool: ...
    @property
    def exit_code(self) -> int | None: ...
    def look(self) -> str: ...
    def reload(self) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Workers:
    """A number of workers, each with a successor if it ends or hangs.

    `on_ready` is called once, when the first of them answers.
    """

    def __init__(self, start: Callable[[], Worker], count: int, stop_seconds: float, on_ready: Callable[[], None]):
        self._start = start
        self._wanted = count
        self._stop_seconds = stop_seconds
        self._on_ready = on_ready
        self._is_ready = False
        self._must_reload = False
        self._must_renew = False
        self._outdated: list[Worker] = []
        """Workers that are replaced, one after the other, by others with the program as it is on disk."""
        self._pause_ticks = 0
        self._leaving: dict[Worker, float] = {}
        """Workers that were asked to stop, and the ticks that they still have."""
        self._running = [start() for _ in range(count)]
        """The running workers, in the order of their starts."""

    def reload_all(self) -> None:
        """Make all workers reload with the next tick, including those that are stopping; for a signal handler."""
        self._must_reload = True

    def renew_all(self) -> None:
        """Replace all workers, beginning with the next tick; for a signal handler."""
        self._must_renew = True

    def change_count(self, by: int) -> None:
        """Change the number of workers, which is at least one."""
        self._wanted = max(1, self._wanted + by)

    def tick(self) -> None:
        """Look at each worker, and act on the result; call this every TICK_SECONDS.

        Raise StartFailed if all workers have ended and none has ever been up: others would end in the same way.
        """
        for worker in list(self._running):
            fault = worker.look()
            if worker.is_up and not self._is_ready:
                self._is_ready = True
                self._on_ready()
            if fault:
                self._kill(worker, fault)
        self._reap()
        if self._must_reload:
            self._must_reload = False
            for worker in (*self._running, *self._leaving):
                worker.reload()
        if self._must_renew:
            self._must_renew = False
            self._outdated = [*self._running]
            logger.warning("replacing %d workers by the program that is installed now", len(self._outdated))
        if self._is_ready:
            self._fill()

    def stop(self) -> None:
        """Ask all workers to stop, and kill those that do not in time."""
        for worker in list(self._running):
            self._retire(worker)
        while self._leaving:
            time.sleep(TICK_SECONDS)
            self._reap()

    def _kill(self, worker: Worker, fault: str) -> None:
        self._running.remove(worker)
        worker.kill()
        if not self._is_ready and not self._running:
            raise StartFailed(f"serve: no worker came up: the last one {fault}; the lines above say why")
        logger.error("worker %d %s%s", worker.pid, fault, "; another is started" if self._is_ready else "")
        if not worker.is_up:
            self._pause_ticks = round(RESTART_SECONDS / TICK_SECONDS)

    def _fill(self) -> None:
        up = sum(worker.is_up for worker in self._running)
        was_outdated = bool(self._outdated)
        self._outdated = [worker for worker in self._outdated if worker in self._running]
        if up > self._wanted:
            self._retire(self._running[0])  # the oldest, and so an outdated one if there is any
        elif self._pause_ticks > 0:
            self._pause_ticks -= 1
        elif len(self._running) < self._wanted + bool(self._outdated):
            self._running.append(self._start())
        elif was_outdated and not self._outdated:
            logger.warning("all workers were replaced")

    def _retire(self, worker: Worker) -> None:
        self._running.remove(worker)
        self._leaving[worker] = (self._stop_seconds + STOP_SLACK_SECONDS) / TICK_SECONDS
        worker.terminate()

    def _reap(self) -> None:
        for worker in list(self._leaving):
            self._leaving[worker] -= 1
            if worker.exit_code is not None or self._leaving[worker] < 0:
                worker.kill()
                del self._leaving[worker]


def keep_workers(listener: socket.socket, count: int, stop_seconds: float, on_ready: Callable[[], None]) -> None:
    """Serve the listener with a number of workers until SIGTERM or SIGINT. Raise StartFailed if none comes up.

    SIGHUP is passed on to them, SIGTTIN and SIGTTOU start one more and stop one, as with other servers. SIGUSR2
    replaces them one after the other; a new process imports the program as it is on disk then.
    """
    stops: list[int] = []
    workers = Workers(lambda: Child(WORKER, listener, "gateway-worker", stop_seconds), count, stop_seconds, on_ready)
    acts: dict[int, Callable[[], object]] = {
        signal.SIGTERM: lambda: stops.append(1),
        signal.SIGINT: lambda: stops.append(1),
        signal.SIGTTIN: lambda: workers.change_count(1),
        signal.SIGTTOU: lambda: workers.change_count(-1),
        signal.SIGUSR2: workers.renew_all,
    }
    for number in acts:
        signal.signal(number, lambda received, _: acts[received]())
    with HANGUPS.at_each(workers.reload_all):
        while not stops:
            workers.tick()
            time.sleep(TICK_SECONDS)
        listener.close()  # else it would still accept connections that no worker answers
        workers.stop()


@contextmanager
def admin_beside(listener: socket.socket | None, stop_seconds: float) -> Iterator[None]:
    """Run the admin listener in a process of its own, restarted if it ends by itself; none without a listener."""
    if listener is None:
        yield
        return
    stopping = threading.Event()
    hangups: SimpleQueue[None] = SimpleQueue()  # a signal handler may put into it at any moment
    keeper = threading.Thread(target=_keep_admin, args=(listener, stopping, hangups, stop_seconds))
    keeper.start()
    try:
        with HANGUPS.at_each(partial(hangups.put, None)):
            yield
    finally:
        stopping.set()
        keeper.join()


def _keep_admin(
    listener: socket.socket, stopping: threading.Event, hangups: "SimpleQueue[None]", stop_seconds: float
) -> None:
    while not stopping.is_set():
        child, fault = Child(ADMIN, listener, "gateway-admin", stop_seconds), ""
        while not fault and not stopping.wait(TICK_SECONDS):
            fault = child.look()
            while not hangups.empty():
                hangups.get()
                child.reload()
        if not fault:
            child.terminate()
            child.wait(stop_seconds + STOP_SLACK_SECONDS)
        child.kill()
        if child.exit_code == 0:  # it was asked to stop, as Ctrl+C asks all processes
            return
        if fault:
            logger.error("the admin listener %s; it is started anew", fault)
            stopping.wait(RESTART_SECONDS)


async def beat(mouth: socket.socket) -> None:
    """Send signs of life of this process, as long as its event loop runs, until it has stopped."""
    mouth.setblocking(False)
    while True:
        with suppress(OSError):  # the other end is gone, or has not listened for hours
            mouth.send(b".")
        await asyncio.sleep(BEAT_SECONDS)


def _run(place: str, listener: socket.socket, mouth: socket.socket, stop_seconds: float) -> None:
    """Run the process. It ends with its parent, however that one ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent, stop_seconds), daemon=True).start()
    HANGUPS.take()
    signal.signal(
        signal.SIGUSR2, signal.SIG_IGN
    )  # it is for the main process, and a service manager may send it to all
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not SystemExit: it is lost if the signal comes inside of an import or a callback that swallows exceptions.
        # While the server runs uvicorn takes the signals, and raises them again when all is closed.
        signal.signal(number, lambda *_: os._exit(0))
    with begin_process():
        load(place)(listener, mouth)


def refuse_to_renew() -> None:
    """Say at each SIGUSR2 that one process cannot replace itself without a pause; by default it would end."""

    def say(*_: object) -> None:
        logging.getLogger(START).warning(
            "SIGUSR2: a gateway with one worker cannot replace it; restart it, or start it with --workers 2 or more"
        )

    signal.signal(signal.SIGUSR2, say)


def exit_when_told() -> None:
    """Treat SIGTERM and SIGINT as a good end: uvicorn raises the signal that stopped it again after its stop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))


def _end_after(parent: Any, stop_seconds: float) -> None:
    """Stop this process when the parent has ended: the pipe between them breaks then, also by SIGKILL."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(stop_seconds + STOP_SLACK_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)  # it hangs, and no parent is left that would notice
