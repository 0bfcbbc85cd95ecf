"""What goes wrong in a simulated run: one fault after the other, chosen by the seed."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.simulation.world import World
from tests.support.history import Jump

Fault = Callable[[World], Awaitable[None]]


async def lose_answers(world: World) -> None:
    """The connection breaks after Redis has run a script, and before its answer arrives."""
    world.store.master.answers_lost = world.rng.randint(1, 3)


async def delay(world: World) -> None:
    """The answers of Redis come late."""
    world.slow_seconds = world.rng.choice((0.05, 0.2, 0.3, 1.0))
    await asyncio.sleep(world.rng.uniform(0.2, 3.0))
    world.slow_seconds = 0.0


async def restart(world: World) -> None:
    """Redis is killed, alone or with its machine, often in the middle of a change, and started with what it kept."""
    for _ in range(world.rng.choice((0, 60))):
        if world.is_changing:
            await asyncio.sleep(world.rng.uniform(0.0, 0.05))
            break
        await asyncio.sleep(0.02)
    seconds = world.rng.choice((0.0, 0.5))
    world.store.restart(is_machine=world.rng.random() < 0.5, loading_seconds=seconds)
    await asyncio.sleep(seconds)


async def stop(world: World) -> None:
    """Redis is silent for a while (SIGSTOP)."""
    node = world.store.master
    world.store.stop()
    await asyncio.sleep(world.rng.choice((0.1, 0.4, 3.0)))
    world.loop.resume(node.process)


async def fail_over(world: World) -> None:
    """A replica takes over: planned, or after a crash, with what it has."""
    world.store.fail_over(is_planned=world.rng.random() < 0.5)


async def part(world: World) -> None:
    """A worker, or the operator, does not reach Redis."""
    who = world.rng.choice([*world.workers, "operator"])
    world.cut.add(who)
    await asyncio.sleep(world.rng.uniform(0.1, 3.0))
    world.cut.discard(who)
    world.network.open_way()


async def reset(world: World) -> None:
    """Connections to Redis are reset."""
    for end in list(world.network.ends):
        if end.process is world.store.master.process and world.rng.random() < 0.7:
            world.network.reset(end)


async def break_late(world: World) -> None:
    """The connections break while answers are late: who waits has waited for some time already."""
    world.slow_seconds = 1.0
    await asyncio.sleep(world.rng.uniform(0.1, 0.4))
    await reset(world)
    await asyncio.sleep(world.rng.uniform(0.1, 0.4))
    world.slow_seconds = 0.0


async def forget(world: World) -> None:
    """Something between forgets the connections: neither end hears of it."""
    for end in list(world.network.ends):
        if end.process is world.store.master.process:
            end.is_mute = True
            if end.peer is not None:
                end.peer.is_mute = True


async def jump(world: World) -> None:
    """The clock of Redis is set, forward or back."""
    milliseconds = world.rng.choice((-20_000, -3_000, -100, 100, 3_000, 20_000))
    world.store.jump(milliseconds)
    if milliseconds > 0:
        world.history.add(Jump(world.loop.time()))


async def kill_worker(world: World) -> None:
    """A worker is killed, and another one started."""
    world.kill_worker(world.rng.choice(list(world.workers)))
    world.start_worker()


async def stop_worker(world: World) -> None:
    """A worker stands still for a while."""
    process = world.workers[world.rng.choice(list(world.workers))]
    process.stop()
    await asyncio.sleep(world.rng.choice((0.05, 0.3, 2.0)))
    world.loop.resume(process)


FAULTS: tuple[Fault, ...] = (
    lose_answers,
    lose_answers,
    delay,
    restart,
    stop,
    fail_over,
    part,
    reset,
    break_late,
    forget,
    jump,
    kill_worker,
    stop_worker,
)


async def run_faults(world: World, number: int) -> None:
    """Let so many faults happen; some of them at once."""
    running: set[asyncio.Task[None]] = set()
    for _ in range(number):
        await asyncio.sleep(world.rng.uniform(0.2, 2.0))
        fault = world.rng.choice(FAULTS)
        world.tell(f"fault: {fault.__name__}")
        task = asyncio.ensure_future(fault(world))
        if world.rng.random() < 0.7:
            await task
            world.tell(f"fault over: {fault.__name__}")
        else:
            running.add(task)
    if running:
        await asyncio.wait(running)
