"""Run a seed: workers, clients and an operator while faults happen; then all is healed, and looked at."""

import asyncio
import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from tests.simulation.database import forget_database
from tests.simulation.faults import run_faults
from tests.simulation.loop import PROCESS, Process
from tests.simulation.world import LEASES_SECONDS, RECOVERY_SECONDS, World
from tests.support.history import check

WORKERS, CLIENTS, FAULTS = 2, 3, 6
"""In one run."""


class Run(msgspec.Struct, frozen=True):
    """What came of a seed."""

    seed: int
    violations: list[str]
    trace: list[str]
    events: int


class _Errors(logging.Handler):
    """Keeps what the gateway logs as an error: it is not to happen, whatever fails around it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else ""
        self.lines.append(f"error logged: {record.getMessage()} {cause!r}")


@contextmanager
def _errors_of_the_log() -> Iterator[list[str]]:
    errors, logger = _Errors(), logging.getLogger("gateway")
    logging.disable(logging.WARNING)
    logger.addHandler(errors)
    try:
        yield errors.lines
    finally:
        logger.removeHandler(errors)
        logging.disable(logging.NOTSET)


def run_seed(seed: int) -> Run:
    """Return what came of a seed: nothing but the seed and the code decides it."""
    with _collected():
        return _run_world(seed)


def _run_world(seed: int) -> Run:
    world = World(seed)
    with _errors_of_the_log() as errors:
        more = world.loop.run_until_complete(_run(world))
    violations = [*check(world.history), *more, *errors, *world.loop.failures]
    return Run(seed, violations, world.trace, len(world.history.events))


@contextmanager
def _collected() -> Iterator[None]:
    """Collect the garbage of a run at its end, and only that: killed processes leave open connections and tasks."""
    gc.freeze()
    gc.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            yield
        finally:
            forget_database()
            gc.collect()
            gc.enable()
            gc.unfreeze()


async def _run(world: World) -> list[str]:
    world.tell(f"seed {world.seed}: the Redis keeps {world.durability}")
    for _ in range(WORKERS):
        world.start_worker()
    PROCESS.set(Process("operator"))
    management = world.open_management()
    for _ in range(3):
        await world.create(management)
    working = [asyncio.ensure_future(world.run_operator(management))]
    PROCESS.set(Process("clients"))
    working += [asyncio.ensure_future(world.run_client(number)) for number in range(CLIENTS)]
    await run_faults(world, FAULTS)
    world.is_over = True
    await asyncio.wait(working)
    for task in working:
        task.result()
    world.tell("all is healed")
    found = await _look(world)
    await world.close()
    return found


async def _look(world: World) -> list[str]:
    """Return what is wrong after everything is healed.

    Each worker is asked once before, as a connection that is dead already is found by whoever uses it next.
    """
    world.store.master.answers_lost = 0
    for worker in list(world.workers):
        await world.ask(world.tokens[0], "live", f"first-{worker}", worker)
    await asyncio.sleep(RECOVERY_SECONDS)
    found = []
    for token in world.tokens[-4:]:
        for worker in list(world.workers):
            is_meant = world.store.is_empty  # an empty Redis has lost its data, or is new: 503 is right
            if await world.ask(token, "live", f"last-{worker}", worker) == 503 and not is_meant:
                found.append(f"no recovery: 503 from {worker} {RECOVERY_SECONDS} s after the last fault")
    PROCESS.set(Process("operator"))
    await world.read_all(world.open_management())
    await asyncio.sleep(LEASES_SECONDS + world.store.set_back / 1000)
    for token in world.tokens:
        if token.plan == "busy" and await world.ask(token, "live", "last") == 429:
            found.append(f"lease lost: token {token.identity} has no room although nothing is in flight")
    return found
