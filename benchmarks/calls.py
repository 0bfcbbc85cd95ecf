"""How many calls of the gateway's own functions one cached hit makes: `python -m benchmarks.calls`.

One worker serves in this process, with a Redis and a backend of its own, and nobody else asks it anything. The hit is
one GET on a connection that is open already. A coroutine counts once, however often it goes on; a comprehension belongs
to its function, as the interpreter has it since Python 3.12 (PEP 709). `--list` prints every call in its order.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop

from benchmarks.backend import CONTENT, Backend, build_answer
from benchmarks.stage import POLICY
from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.app import open_policies
from gateway.cli.process.listening import bind
from gateway.cli.process.server import build_config, serving
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest
from gateway.management.building import build_management
from gateway.settings import Settings
from tests.support.processes import RedisServer

PACKAGE = str(Path(__file__).parents[1] / "gateway")
COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>"}
WARM_REQUESTS = 20
"""Until what a worker remembers of a request is remembered."""
HEAD = "GET /export HTTP/1.1\r\nHost: bench.example\r\nAuthorization: Bearer {token}\r\nAccept: */*\r\n\r\n"


class Calls:
    """A profiler of this thread that notes the frames of the gateway's own functions, in their order."""

    def __init__(self) -> None:
        self.frames: list[FrameType] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Note a frame when it is entered first. It is kept, so no later one is taken for it."""
        code = frame.f_code
        is_own = event == "call" and code.co_filename.startswith(PACKAGE) and code.co_name not in COMPREHENSIONS
        if is_own and not any(frame is known for known in self.frames):
            self.frames.append(frame)

    def names(self) -> list[str]:
        """Return file and function of each call."""
        return [f"{frame.f_code.co_filename[len(PACKAGE) + 1 :]}:{frame.f_code.co_qualname}" for frame in self.frames]


async def count_hit(folder: Path, redis_url: str, *, has_access_log: bool, is_recognised: bool = False) -> list[str]:
    """Return the calls of one cached hit, of a request that is read, or of one that is recognised."""
    loop = asyncio.get_running_loop()
    answer = build_answer(CONTENT)
    backend = await loop.create_server(lambda: Backend(answer, answer, answer), "127.0.0.1", 0)
    policies = folder / "policies"
    policies.mkdir(exist_ok=True)
    text = POLICY.format(port=backend.sockets[0].getsockname()[1], algorithms="")
    (policies / "bench.toml").write_text(text)
    access_log = str(folder / "access.log") if has_access_log else ""
    settings = Settings(
        redis_url=redis_url,
        policies=str(policies),
        access_log=access_log,
        redis_timeout=5,
        recognition="on" if is_recognised else "off",
    )
    head = HEAD.format(token=await _mint(settings)).encode()
    listener, calls = bind("127.0.0.1:0"), Calls()
    listener.listen()
    async with serving(build_config(settings), listener):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        for number in range(WARM_REQUESTS + 1):
            if number == WARM_REQUESTS:
                await asyncio.sleep(0.1)  # what is written behind the answers before it is no part of this one
                sys.setprofile(calls)
            writer.write(head)
            start = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(CONTENT))
        await asyncio.sleep(0)  # the task of the request ends behind its last byte
        sys.setprofile(None)
        writer.close()
    backend.close()
    if b"cache-status: gateway; hit" not in start:
        raise SystemExit(f"this was no cached hit:\n{start.decode()}")
    return calls.names()


async def _mint(settings: Settings) -> str:
    connection = RedisConnection(open_client(settings.redis_url, 5), 5)
    management = build_management(connection, open_policies(settings), "")
    request = TokenRequest(name="counted", project="bench", plan="one")
    made = await management.create_token(Actor("benchmark", "operator"), "bench", request)
    await connection.close()
    return made.text


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--list", action="store_true", help="print every call in its order")
    is_listed = parser.parse_args().list
    executable = shutil.which("redis-server")
    if executable is None:
        raise SystemExit("this needs redis-server on the PATH (on Debian: apt-get install redis-server)")
    for is_recognised, has_access_log in product((False, True), (False, True)):
        with tempfile.TemporaryDirectory(prefix="gateway-calls-") as folder:
            store = RedisServer(executable, Path(folder))
            try:
                counting = count_hit(
                    Path(folder), store.url, has_access_log=has_access_log, is_recognised=is_recognised
                )
                names = uvloop.run(counting)
            finally:
                store.stop()
        if is_listed:
            sys.stdout.write("\n".join(names) + "\n")
        files = {name.partition(":")[0] for name in names}
        log = "with an access log" if has_access_log else "without an access log"
        kind = "recognised" if is_recognised else "cached"
        counts = f"{len(names)} calls of {len(set(names))} functions in {len(files)} files"
        sys.stdout.write(f"a {kind} hit, {log}: {counts}\n")


if __name__ == "__main__":
    main()
