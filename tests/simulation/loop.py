"""An event loop without a clock, threads or sockets: virtual time, simulated processes, and a network in memory.

Everything that runs is a callback of one process (`Process`), and the loop runs callbacks in the order of their time
and of their creation. So one seed gives one history. A killed process runs no further callback; a stopped one runs them
when it goes on, as after SIGSTOP.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

Result = TypeVar("Result")
MAXIMUM_CALLBACKS = 5_000_000
"""Of one simulation: a loop that waits for nothing would go on for ever."""

Accept = Callable[[], asyncio.Protocol]
"""Makes the protocol of the end that is connected to."""


class Process:
    """A process that may be killed, or stopped for a while."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_killed = False
        self.is_stopped = False
        self.stops = 0
        """How often it was stopped."""
        self.held: list[asyncio.Handle] = []

    def stop(self) -> None:
        """Stop it as SIGSTOP does."""
        self.is_stopped, self.stops = True, self.stops + 1

    def context(self) -> Context:
        """Return a context whose callbacks, and the tasks that they create, are this process'."""
        context = copy_context()
        context.run(PROCESS.set, self)
        return context


PROCESS: ContextVar[Process] = ContextVar("process")
WORLD = Process("world")
"""What no process has begun: the simulation itself."""


class Deadlock(Exception):
    """Nothing will ever run again, although the simulation has not ended."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The event loop. `network` opens connections; `time` are seconds since the simulation began."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[tuple[asyncio.Handle, Process]] = deque()
        self._later: list[tuple[float, int, asyncio.Handle, Process]] = []
        self._numbers = itertools.count()
        self._is_running = False
        self.network: Network
        self.failures: list[str] = []
        """What callbacks raised and nobody took in."""

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]  # typeshed ties the arguments to the callback
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        context = context or copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append((handle, context.get(PROCESS, WORLD)))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        context = context or copy_context()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._later, (when, next(self._numbers), handle, context.get(PROCESS, WORLD)))
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    async def create_connection(  # type: ignore[override]  # the network has names and nothing else
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int, **_: Any
    ) -> tuple["Transport", asyncio.Protocol]:
        """Connect to a name of the network. Raise ConnectionRefusedError, or wait for ever if nothing comes back."""
        return await self.network.connect(protocol_factory, host)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._is_running

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what went wrong: a killed process leaves tasks behind, which is no failure."""
        if "destroyed" not in context.get("message", ""):
            self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    def run_until_complete(self, future: Coroutine[Any, Any, Result]) -> Result:  # type: ignore[override]
        """Run the simulation until its main task has ended. Raise Deadlock if it cannot end."""
        asyncio._set_running_loop(self)
        self._is_running = True
        try:
            task = self.create_task(future)
            for _ in range(MAXIMUM_CALLBACKS):
                if task.done():
                    return task.result()  # type: ignore[no-any-return]
                self._run_one()
            raise Deadlock("the simulation does not end")
        finally:
            self._is_running = False
            asyncio._set_running_loop(None)

    def resume(self, process: Process) -> None:
        """Let a stopped process go on with what it missed."""
        process.is_stopped = False
        held, process.held = process.held, []
        self._ready.extend((handle, process) for handle in held)

    def _run_one(self) -> None:
        if not self._ready:
            if not self._later:
                raise Deadlock("nothing is scheduled")
            self._now = max(self._now, self._later[0][0])
        while self._later and self._later[0][0] <= self._now:
            _, _, handle, process = heapq.heappop(self._later)
            self._ready.append((handle, process))
        handle, process = self._ready.popleft()
        if handle.cancelled() or process.is_killed:
            return
        if process.is_stopped:
            process.held.append(handle)
        else:
            handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Take in that a timer was cancelled, as the base class demands: it is left out when its time comes."""


class Transport(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, network: "Network", process: Process, there: str) -> None:
        super().__init__()
        self.process = process
        self.there = there
        """The name of the other end's process."""
        self.peer: Transport | None = None
        self.is_lost = False
        """Whether the protocol was told of the end, or will be."""
        self.arrives_at = 0.0
        """The time at which what was sent last arrives: nothing overtakes it."""
        self.is_mute = False
        """Whether what is written here is lost, as by a firewall that has forgotten the connection."""
        self._network = network
        self._protocol: asyncio.BaseProtocol
        self._context = process.context()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.is_lost

    def write(self, data: Any) -> None:
        if data and not self.is_lost:
            self._network.deliver(self, bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        self.lose(None)
        self._network.end(self)

    def abort(self) -> None:
        self.close()

    def receive(self, data: bytes) -> None:
        """Take in what has arrived."""
        if not self.is_lost:
            self._protocol.data_received(data)  # type: ignore[attr-defined]  # an asyncio.Protocol

    def call(self, when: float, callback: Callable[..., None], *arguments: Any) -> None:
        """Call back in the process that this end is of."""
        self._network.loop.call_at(when, callback, *arguments, context=self._context)

    def lose(self, error: Exception | None) -> None:
        """End this side: the protocol is told soon, once."""
        if not self.is_lost:
            self.is_lost = True
            self._network.ends.pop(self, None)
            self.call(self._network.loop.time(), self._tell_lost, error)

    def _tell_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)


class Network:
    """Names, what answers at them, and what is wrong between two processes.

    `delay` gives the seconds for a packet between two processes, None if none arrives: then what was sent arrives when
    the way is open again, if the connection lives until then (TCP sends again).
    """

    def __init__(self, loop: SimulatedLoop, delay: Callable[[str, str], float | None]) -> None:
        self.loop = loop
        self.names: dict[str, tuple[Process, Accept]] = {}
        self.ends: dict[Transport, None] = {}
        """The open ends, in the order of their connections."""
        self._delay = delay
        self._blocked: list[tuple[Transport, bytes]] = []
        loop.network = self

    async def connect(self, make: Callable[[], asyncio.Protocol], host: str) -> tuple[Transport, asyncio.Protocol]:
        """Connect the current process to a name."""
        here = PROCESS.get(WORLD)
        there, accept = self.names[host]
        delay = self._delay(here.name, there.name)
        while delay is None:  # SYN packets are lost: whoever connects gives up by its own timer
            await asyncio.sleep(0.2)
            there, accept = self.names[host]
            delay = self._delay(here.name, there.name)
        await asyncio.sleep(2 * delay)
        there, accept = self.names[host]
        if there.is_killed:
            raise ConnectionRefusedError(f"nobody listens at {host}")
        near, far = Transport(self, here, there.name), Transport(self, there, here.name)
        near.peer, far.peer = far, near
        self.ends |= {near: None, far: None}
        near.set_protocol(make())
        far.set_protocol(there.context().run(accept))
        far.call(self.loop.time(), far.get_protocol().connection_made, far)
        near.get_protocol().connection_made(near)
        return near, near.get_protocol()  # type: ignore[return-value]

    def deliver(self, sender: Transport, data: bytes) -> None:
        """Let data arrive at the other end."""
        delay = self._delay(sender.process.name, sender.there)
        if sender.is_mute:
            return
        if delay is None:
            self._blocked.append((sender, data))
            return
        peer, now = sender.peer, self.loop.time()
        assert peer is not None
        sender.arrives_at = max(now + delay, sender.arrives_at)
        if not peer.is_lost:
            peer.call(sender.arrives_at, peer.receive, data)
        elif not peer.process.is_killed or delay is not None:  # nobody is there: the answer is a reset
            sender.call(now + 2 * delay, sender.lose, ConnectionResetError("reset by peer"))

    def end(self, sender: Transport) -> None:
        """Let the other end hear of an end, unless nothing arrives there."""
        peer, delay = sender.peer, self._delay(sender.process.name, sender.there)
        if peer is not None and delay is not None and not sender.is_mute:
            peer.call(max(self.loop.time() + delay, sender.arrives_at), peer.lose, None)

    def open_way(self) -> None:
        """Deliver what was held up, where it can arrive now."""
        blocked, self._blocked = self._blocked, []
        for sender, data in blocked:
            if not sender.is_lost:
                self.deliver(sender, data)

    def kill(self, process: Process) -> None:
        """End a process and all its connections: the kernel resets them."""
        process.is_killed = True
        for end in [end for end in self.ends if end.process is process]:
            self.reset(end)

    def reset(self, end: Transport) -> None:
        """Reset a connection: both ends lose it."""
        peer = end.peer
        end.lose(ConnectionResetError("reset"))
        if peer is not None and self._delay(end.process.name, end.there) is not None:
            peer.lose(ConnectionResetError("reset by peer"))
