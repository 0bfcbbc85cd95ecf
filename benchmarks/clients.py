"""The heads of requests as real clients send them: their fields, in their order. `python -m benchmarks.clients` takes
them again from the clients that are installed here.

The order matters: nginx and node look fields up by name, and a gateway that remembers whole requests knows each order
apart. What a CI job adds (its token, an entity tag) stands where the client puts it.
"""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

Field = tuple[str, str]

OWN = "*"
"""Stands for the fields that the caller adds, in his order."""
TOKEN, TURN = "%TOKEN%", "%TURN%"
"""Words that the load generators replace in each request: the token, and a number that grows (see load.Order)."""
CLIENTS: dict[str, tuple[str, ...]] = {
    "curl": ("Host: {host}", "User-Agent: curl/7.88.1", "Accept: */*", OWN),
    "python-requests": (
        "Host: {host}",
        "User-Agent: python-requests/2.34.2",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Accept: */*",
        "Connection: keep-alive",
        OWN,
    ),
    "Node's fetch": (
        "host: {host}",
        "connection: keep-alive",
        OWN,
        "accept: */*",
        "accept-language: *",
        "sec-fetch-mode: cors",
        "user-agent: node",
        "accept-encoding: gzip, deflate",
    ),
}
"""curl 7.88.1, requests 2.34.2 and node 20.20, each told nothing but its token, taken on 2026-11-30."""
AUTHORIZED: tuple[Field, ...] = (("Authorization", f"Bearer {TOKEN}"),)


def build_head(target: str, own: Sequence[Field] = AUTHORIZED, client: str = "curl", host: str = "127.0.0.1") -> str:
    """Return the head of a GET as the client sends it, with the fields that its caller adds."""
    lines = [f"GET {target} HTTP/1.1"]
    for line in CLIENTS[client]:
        lines += [f"{name}: {value}" for name, value in own] if line == OWN else [line.format(host=host)]
    return "\r\n".join([*lines, "", ""])


def _commands(url: str) -> Iterator[tuple[str, list[str]]]:
    field = "Authorization: Bearer TOKEN"
    if curl := shutil.which("curl"):
        yield "curl", [curl, "--silent", "--header", field, url]
    code = f"import requests; requests.get({url!r}, headers={{'Authorization': 'Bearer TOKEN'}})"
    yield "python-requests", [sys.executable, "-c", code]
    if node := shutil.which("node"):
        yield "Node's fetch", [node, "--eval", f"fetch({url!r}, {{headers: {{Authorization: 'Bearer TOKEN'}}}})"]


def main() -> None:
    """Print the head that each installed client sends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        for name, command in _commands(f"http://127.0.0.1:{server.getsockname()[1]}/export"):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            connection, _ = server.accept()
            with connection:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += connection.recv(4096)
                connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            process.wait(10)
            sys.stdout.write(f"{name}:\n{head.decode()}")


if __name__ == "__main__":
    main()
