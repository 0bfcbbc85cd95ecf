"""Render variants without delaying other requests: small documents here, larger ones in other processes.

Reading JSON holds the interpreter for its duration, in a thread too; only another process leaves it free. The threads
here only wait for pipes.
"""

import asyncio
import fcntl
import os
import subprocess
import sys
from contextlib import suppress
from typing import BinaryIO, cast

from gateway.adapters.logs.hangups import held_back
from gateway.adapters.renderer_process import Broken, Done, read_outcome, write_job
from gateway.core.errors import BrokenDocument
from gateway.core.variants.model import DocumentForm, InvalidOptions, Rendered, Variant
from gateway.core.variants.rendering import render

INLINE_BYTES = 8 * 1024
"""Documents up to this size are rendered at once: that takes a millisecond or two, and so does asking a process."""
TIMEOUT_SECONDS = 30.0
"""The time limit of rendering; the largest document takes a third of it on a slow machine."""
PIPE_BYTES = 1024 * 1024
"""Bytes of a pipe: Linux gives it 64 KiB by default, so that megabytes would take many turns."""


class ProcessRenderer:
    """The renderer in up to `processes` processes, which are started when they are first needed."""

    def __init__(
        self, processes: int = 1, *, inline_bytes: int = INLINE_BYTES, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._inline_bytes = inline_bytes
        self._timeout_seconds = timeout_seconds
        self._free = asyncio.Semaphore(processes)
        self._idle: list[_Process] = []

    async def render(self, content: bytes, form: DocumentForm, variant: Variant) -> Rendered | InvalidOptions:
        """Return the variant of the document in `content`. Raise BrokenDocument, also if it takes too long."""
        if len(content) <= self._inline_bytes:
            return render(content, form, variant)
        async with self._free:
            process = self._idle.pop() if self._idle else _Process()
            try:
                found = await asyncio.wait_for(
                    asyncio.to_thread(process.render, content, form, variant), self._timeout_seconds
                )
            except BaseException as error:  # its late answer would go to the next caller
                process.kill()
                if isinstance(error, TimeoutError):
                    problem = f"rendering it takes more than {self._timeout_seconds:g} seconds"
                    raise BrokenDocument("$", problem) from None
                if isinstance(error, EOFError | OSError):
                    raise BrokenDocument("$", "rendering it ended the process that did") from None
                raise
            self._idle.append(process)
        if isinstance(found, Broken):
            raise BrokenDocument(found.place, found.problem)
        return found

    def close(self) -> None:
        """End the processes."""
        while self._idle:
            self._idle.pop().kill()


class _Process:
    """A process with its pipes. It has no settings of the gateway, so no secrets."""

    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        with held_back():  # it ignores a hangup that goes to all processes of the gateway
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.adapters.renderer_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # an interrupt from the keyboard is for the gateway, which then ends it
            )
        self._jobs, self._outcomes = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        _widen(self._jobs, self._outcomes)

    def render(self, content: bytes, form: DocumentForm, variant: Variant) -> Rendered | InvalidOptions | Broken:
        """Wait for the result. Raise EOFError or OSError if the process ends."""
        write_job(self._jobs, (form, variant), content)
        outcome, written = read_outcome(self._outcomes)
        return Rendered(written, outcome.tag) if isinstance(outcome, Done) else outcome

    def kill(self) -> None:
        """End it now; a thread that waits for it wakes up."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._jobs, self._outcomes):
            with suppress(OSError):  # the unsent rest is not needed
                pipe.close()


def _widen(*pipes: BinaryIO) -> None:
    if sys.platform == "linux":
        for pipe in pipes:
            with suppress(OSError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
