"""Looking whether backends are there, over real sockets."""

import socket
from pathlib import Path

from gateway.adapters.upstream.probe import UpstreamProbe
from gateway.core.policies.model import Upstream


async def test_who_does_not_listen_is_named_with_the_cause(tmp_path: Path) -> None:
    """TCP and Unix sockets; each target of an upstream alone. Nothing is sent to those who listen."""
    path, gone = tmp_path / "here.sock", tmp_path / "gone.sock"
    with (
        socket.create_server(("127.0.0.1", 0)) as here,
        socket.socket() as nobody,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        nobody.bind(("127.0.0.1", 0))
        unix.bind(str(path))
        unix.listen()
        urls = [f"http://127.0.0.1:{one.getsockname()[1]}" for one in (here, nobody)]
        upstreams = {
            "both": Upstream(tuple(urls)),
            "unix": Upstream((f"unix:{path}", f"unix:{gone}")),
            "none": Upstream(()),
        }
        found = await UpstreamProbe().find_unreachable(upstreams)
        connection, _ = here.accept()
        with connection:
            connection.settimeout(15)
            assert b"" == connection.recv(1)
    assert [f"no connection to {urls[1]}: "] == [cause[: cause.index(": ", 10) + 2] for cause in found["both"]]
    assert [True] == [cause.startswith(f"no connection to unix:{gone}: ") for cause in found["unix"]]
    assert [] == found["none"]
