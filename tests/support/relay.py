"""A TCP relay that shows the round trips that cross it."""

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType


class Relay:
    """Passes bytes on to a port of this machine. A round trip is what goes out until something comes back."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.round_trips: list[bytes] = []
        self._target_port = target_port
        self._server: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._forgotten: set[asyncio.StreamWriter] = set()
        self._lost = b""
        self.passes = asyncio.Event()
        """Whether bytes are passed on; while it is not set, they wait, as packets that are dropped are sent again."""
        self.passes.set()
        self.delay_seconds = 0.0
        """By how much answers come later."""

    async def __aenter__(self) -> "Relay":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()
        self.break_off()
        await self._server.wait_closed()

    def lead_to(self, target_port: int) -> None:
        """Sends new connections to another port, as a name does that was changed; open ones stay where they lead."""
        self._target_port = target_port

    def lose_answer_to(self, part: bytes) -> None:
        """Closes the connection instead of passing on the next answer to a command that has this part."""
        self._lost = part

    def break_off(self) -> None:
        """Closes what is open; new connections are taken as before."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    def reset(self) -> None:
        """Resets what is open (RST), as a firewall or a crashed machine does."""
        for writer in self._writers:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        self._writers.clear()

    def forget(self) -> None:
        """Let nothing more cross the open connections: neither end hears of it (a half-open connection)."""
        self._forgotten |= self._writers

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except ConnectionError:  # as if there were no relay: nobody listens
            writer.transport.abort()
            return
        self._writers |= {writer, there_writer}
        is_asking = False

        async def ask() -> None:
            nonlocal is_asking
            while data := await reader.read(1 << 20):
                if is_asking:
                    self.round_trips[-1] += data
                else:
                    self.round_trips.append(data)
                is_asking = True
                await self.passes.wait()
                if there_writer not in self._forgotten:
                    there_writer.write(data)

        async def answer() -> None:
            nonlocal is_asking
            while data := await there_reader.read(1 << 20):
                is_asking = False
                if self._lost and self._lost in self.round_trips[-1]:
                    self._lost = b""
                    break
                await self.passes.wait()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if writer not in self._forgotten:
                    writer.write(data)
            writer.close()  # the end that was reached, or an answer that is lost, is one for the client too

        with suppress(ConnectionError):  # one of the two ends has reset the connection
            await asyncio.gather(ask(), answer())
        writer.close()
        there_writer.close()
