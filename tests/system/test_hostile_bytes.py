"""The rows of deploy/hostile-bytes.md, each over a raw socket through the running gateway to a raw-socket backend."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.core.http.targets import MAXIMUM_TARGET_BYTES
from gateway.server.connection import CONTENT_SECONDS, HEAD_SECONDS, IDLE_SECONDS, STALLED_SECONDS
from gateway.server.requests import MAXIMUM_DISCARDED_BYTES, MAXIMUM_FIELDS, MAXIMUM_HEAD_BYTES
from gateway.settings import Settings
from tests.support.processes import GatewayServer, RedisServer, wait_until
from tests.support.raw import send_pieces, send_raw
from tests.support.recording_backend import RecordingBackend
from tests.system.conftest import mint

DOCUMENT = Path(__file__).parents[2] / "deploy" / "hostile-bytes.md"
POLICY = """
name = "system"
hosts = ["a.example"]
upstream = "http://127.0.0.1:{port}"
[token]
prefixes = ["sys_"]
[scopes]
read = "Read"
admin = "Administrate"
[[rules]]
match = "* /**"
[[rules]]
match = "* /admin/**"
scopes = ["admin"]
[[rules]]
match = "GET /export/{{name}}"
cache = {{ fresh = "1h" }}
"""
CUT = "a head, then an end: "
LAST = b"GET /last HTTP/1.1\r\n%bConnection: close\r\n\r\n"
"""Sent behind each row: what came before must not have left anything that changes how it is read."""


@dataclass(frozen=True)
class Row:
    """One row of the document's tables."""

    what: str
    sent: str
    answers: list[int]
    closes: bool
    gets: list[str]
    is_cut: bool
    """What the backend gets has no end but its connection's."""

    def pieces_for(self, common: bytes, token: str) -> list[bytes]:
        """What is sent, with the field lines that all have in common; the next piece when the backend has the last."""
        return [self._bytes_for(piece, common).replace(b"TOKEN", token.encode()) for piece in self.sent.split("¦")]

    def _bytes_for(self, piece: str, common: bytes) -> bytes:
        parts = piece.split("…")
        return common.join(part.encode("ascii").decode("unicode_escape").encode("latin-1") for part in parts)


def read_rows() -> Iterator[Row]:
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line[1:-1].split("|")]
        if line.startswith("| ") and len(cells) == 5 and cells[1].startswith("`"):
            what, sent, answer, gets, rfc = cells
            assert re.fullmatch(r"\d{4} \d+(\.\d+)*", rfc), rfc
            answers = [int(status) for status in answer.removesuffix(", closed").split()]
            is_cut = gets.startswith(CUT)
            assert gets == "nothing" or re.fullmatch("`[^`]+`(; `[^`]+`)*", gets.removeprefix(CUT)), gets
            closes, gotten = answer.endswith(", closed"), re.findall("`([^`]+)`", gets)
            yield Row(what, sent.strip("`"), answers, closes, gotten, is_cut)


ROWS = list(read_rows())


@pytest.fixture(scope="module")
def backend() -> Iterator[RecordingBackend]:
    """It ends before the gateway's connections do, so nothing of it is waited for."""
    with RecordingBackend() as recording:
        yield recording


@pytest.fixture(scope="module")
def gateway(
    redis_server: RedisServer, backend: RecordingBackend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayServer]:
    """A running gateway whose log has no traceback at the end, and whose backend has never been puzzled."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "system.toml").write_text(POLICY.format(port=backend.port))
    options = ("--policies", str(folder), "--redis", redis_server.url)
    server = GatewayServer(folder, *options).wait()
    yield server
    server.stop()
    assert "Traceback" not in server.text()
    assert [] == backend.misread


@pytest.fixture(scope="module")
def token(gateway: GatewayServer, redis_server: RedisServer) -> str:
    """A token with the scope `read`."""
    return mint(redis_server.url, gateway.output.parent, "--scope", "read")["token"]


def statuses_of(answer: bytes) -> list[int]:
    """Of all answers. A 100 is left out: whether one is sent depends on whether the content is there already."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer) if status != b"100"]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.what) for row in ROWS])
def test_a_row(gateway: GatewayServer, backend: RecordingBackend, token: str, row: Row) -> None:
    """The answer is that of the document, the backend gets what it says, and what follows is read as what it is."""
    common = f"Host: a.example\r\nAuthorization: Bearer {token}\r\nX-Row: {ROWS.index(row)}\r\n".encode()
    *pieces, rest = row.pieces_for(common, token)
    answer = send_pieces(gateway.port, [*pieces, rest + LAST % common], lambda: backend.is_waiting)
    assert [200] == statuses_of(
        send_raw(gateway.port, LAST % common.replace(b"X-Row", b"X-None"))
    )  # what is late is here
    wait_until(lambda: not backend.is_waiting, "what was begun at the backend has an end")
    received = [one for one in backend.take() if not one.field(b"x-none")]
    follows = ([], []) if row.closes else ([200], ["GET /last"])
    assert [*row.answers, *follows[0]] == statuses_of(answer)
    shown = [one.line + (f", {one.content.decode()}" if one.content else "") for one in received]
    assert [*row.gets, *follows[1]] == shown
    assert [not row.is_cut] * len(received) == [one.is_complete for one in received]
    for one in received:
        assert not {b"x-evil", b"content_length", b"transfer_encoding"} & {name for name, _ in one.fields}
        assert "a.example" == (one.field(b"x-forwarded-host") or b"").decode().lower()


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"X-A: " + b"a" * MAXIMUM_HEAD_BYTES + b"\r\n\r\n", id="one field"),
        pytest.param(b"A: a\r\n" * MAXIMUM_FIELDS + b"\r\n", id="more than a hundred fields"),
    ],
)
def test_a_head_beyond_the_limits(gateway: GatewayServer, token: str, head: bytes) -> None:
    """431 and the end of the connection (RFC 6585 5); heads without an end are those of tests/server."""
    common = f"Host: a.example\r\nAuthorization: Bearer {token}\r\n".encode()
    answer = send_raw(gateway.port, b"GET /a HTTP/1.1\r\n" + common + head)
    assert [431] == statuses_of(answer)


def test_a_head_within_the_limits(gateway: GatewayServer, backend: RecordingBackend, token: str) -> None:
    """Nearly as many fields, and nearly as large, pass as they are."""
    common = f"Host: a.example\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n".encode()
    fields = [(b"x-%d" % number, b"a" * 600) for number in range(MAXIMUM_FIELDS - 3)]
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    assert [200] == statuses_of(send_raw(gateway.port, b"GET /large HTTP/1.1\r\n" + common + head + b"\r\n"))
    (received,) = [one for one in backend.take() if one.line == "GET /large"]
    assert fields == [field for field in received.fields if field in fields]


@pytest.mark.parametrize("target", [b"/a", b"/a/../b", b"/nowhere", b"/-/health", b"/-/nothing", b"/-/authorize/nginx"])
@pytest.mark.parametrize("field", [b"X-A: b", b"Host: b.example"])
def test_an_answer_to_head_ends_with_its_head(gateway: GatewayServer, target: bytes, field: bytes) -> None:
    """Also of a refusal (RFC 9110 9.3.2): what came behind would be taken for the next answer."""
    sent = b"HEAD %b HTTP/1.1\r\nHost: a.example\r\n%b\r\n\r\n" % (target, field)
    answer = send_raw(gateway.port, sent + b"GET /-/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.partition(b"\r\n\r\n")[2].startswith(b"HTTP/1.1 200 ")


def test_every_limit_is_documented() -> None:
    """The table of sizes and times is what the code has."""
    table = DOCUMENT.read_text(encoding="utf-8").partition("| limit |")[2].partition("\n\n")[0]
    documented = [float(line.split("|")[2]) for line in table.splitlines()[2:]]
    assert [
        MAXIMUM_HEAD_BYTES,
        MAXIMUM_FIELDS,
        MAXIMUM_TARGET_BYTES,
        HEAD_SECONDS,
        CONTENT_SECONDS,
        STALLED_SECONDS,
        IDLE_SECONDS,
        MAXIMUM_DISCARDED_BYTES,
        Settings(redis_url="memory://").max_requests,
    ] == documented


def test_every_row_is_read() -> None:
    """No row of the document is passed over, and no two have one name."""
    tables = DOCUMENT.read_text(encoding="utf-8").partition("\n## Sizes")[0]
    lines = [line for line in tables.splitlines() if line.startswith("| ")]
    headings = [line for line in lines if line.startswith("| what |")]
    assert len(lines) - len(headings) == len(ROWS) == len({row.what for row in ROWS})
