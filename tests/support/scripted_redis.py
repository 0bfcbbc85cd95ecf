"""A Redis that knows WAITAOF (7.2), made of one that may not: commands are passed on, and that one is answered here."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hiredis

from tests.support.raw import RawBackend


class ScriptedRedis:
    """Answers WAITAOF with `answer`: how many disks, ours and replicas', have all; an error of Redis if it is text."""

    def __init__(self, port: int) -> None:
        self.answer: tuple[int, int] | str = (1, 0)
        self.waits: list[list[tuple[Any, ...]]] = []
        """For each WAITAOF: the commands of its connection until then, and itself."""
        self.url = ""
        self._port = port

    def behave(self, connection: socket.socket) -> None:
        """Serve a connection until it is closed."""
        commands, reader = list[tuple[Any, ...]](), hiredis.Reader()
        with socket.create_connection(("127.0.0.1", self._port)) as server:
            while received := connection.recv(65536):
                reader.feed(received)
                while (command := reader.gets()) is not False:
                    commands.append(tuple(command))
                    connection.sendall(self._answer(commands, server))

    def _answer(self, commands: list[tuple[Any, ...]], server: socket.socket) -> bytes:
        if commands[-1][0] == b"WAITAOF":
            self.waits.append(list(commands))
            told = self.answer
            return f"-{told}\r\n".encode() if isinstance(told, str) else b"*2\r\n:%d\r\n:%d\r\n" % told
        server.sendall(hiredis.pack_command(commands[-1]))
        reply, reader = b"", hiredis.Reader()
        while True:
            reply += (piece := server.recv(65536))
            reader.feed(piece)
            try:
                if not piece or reader.gets() is not False:
                    return reply
            except hiredis.HiredisError:
                return reply


@contextmanager
def scripted_redis(port: int) -> Iterator[ScriptedRedis]:
    """Such a Redis in front of the one on the port."""
    made = ScriptedRedis(port)
    with RawBackend(made.behave) as running:
        made.url = f"redis://127.0.0.1:{running.port}/0"
        yield made
