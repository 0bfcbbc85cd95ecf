"""Requests that nobody would think of: what the backend sees is what was authorised, whatever the bytes were.

The same examples each time; `make fuzz` looks for new ones, as many as EXAMPLES says.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.processes import GatewayServer
from tests.support.raw import send_raw
from tests.support.recording_backend import Received, RecordingBackend
from tests.system.conftest import mint
from tests.system.test_hostile_bytes import LAST, POLICY, statuses_of

LONGER = os.environ.get("GATEWAY_FUZZ_EXAMPLES")
EXPECTED = {200, 204, 206, 304, 400, 401, 403, 404, 412, 414, 416, 431, 501, 505}
"""No 408, as nothing is waited for; no 5xx, as neither the gateway nor its backend may be puzzled."""
HOST, TOKEN = b"Host: a.example", b"Authorization: Bearer TOKEN"

ends = st.sampled_from([b"\n", b"\r", b"\r\r\n", b"", b"\r\n ", b"\r\n\t", b" \r\n", b"\x00\r\n"])
methods = st.sampled_from(b"PUT PATCH DELETE HEAD OPTIONS TRACE CONNECT QUERY PRI get G\x00T".split(b" "))
versions = st.sampled_from(b"HTTP/1.0 HTTP/0.9 HTTP/2.0 HTTP/1.2 http/1.1 RTSP/1.0 ".split(b" "))
plain = st.sampled_from(b"a admin Admin export 1 ... %c3%a9 %252e%252e a:b a@b a|b ?x=/../;".split(b" "))
segments = st.sampled_from(
    b". .. %2e%2e .%2E %2f admin%2fa ..%2fadmin ; ..; admin;x %61dmin %00 %0d%0a %5c \\ \xc3\xa9 %c0%ae %zz # %2d - * "
    b"\x7f \t  a b".split(b" ")
)
origins = st.sampled_from(b"http://a.example http://b.example https://a.example:1 ftp://a.example http: *".split(b" "))
framings = st.sampled_from(
    [
        [b"Content-Length: +5"],
        [b"Content-Length: 5,5"],
        [b"Content-Length: 99999999999999999999"],
        [b"Content-Length: 5", b"Content-Length: 6"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding : chunked"],
        [b"Transfer-Encoding: \x0bchunked"],
        [b"transfer_encoding: chunked"],
        [b"content_length: 5"],
    ]
)
others = st.sampled_from(
    [
        b"Connection: close",
        b"Connection: Content-Length, Transfer-Encoding, Host, X-Evil",
        b"Connection: Upgrade",
        b"Connection: Upgrade\r\nUpgrade: h2c",
        b"Connection: Upgrade\r\nUpgrade: websocket",
        b"Expect: 100-continue",
        b"Max-Forwards: 0",
        b"X-Forwarded-Host: evil.example",
        b"X-Gateway-Token-Id: evil",
        b"X_Gateway_Project: evil",
        b"X-Hop: 1\r\nConnection: x-hop",
        b"If-None-Match: *",
        b"Range: bytes=0-",
    ]
)
lines = st.one_of(
    st.sampled_from([b"Host: b.example", b"X-A: b\r\n c", b"X-A : b", b"X-A", b": b", TOKEN]),
    st.binary(min_size=1, max_size=12).map(lambda value: b"X-Noise: " + value),
)
contents = st.sampled_from(
    [
        ([], b""),
        ([], b""),
        ([b"Content-Length: 5"], b"hello"),
        ([b"Content-Length: 05"], b"hello"),
        ([b"Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
        ([b"Transfer-Encoding:\tCHUNKED"], b"5;a=b\r\nhello\r\n00\r\n\r\n"),
        ([b"Transfer-Encoding: chunked"], b"0\r\nX-Evil: 1\r\nAuthorization: evil\r\n\r\n"),
        ([b"Transfer-Encoding: chunked"], b"5\r\nhello\n0\r\n\r\n"),
        ([b"Transfer-Encoding: chunked \t"], b"5\r\nhello\r\n0\r\n\r\n"),
        ([b"Transfer-Encoding: xchunked"], b"5\r\nhello\r\n0\r\n\r\n"),
        ([b"Content-Length: 5"], b"GET /admin/a HTTP/1.1\r\n%b\r\n%b\r\n\r\n" % (HOST, TOKEN)),
    ]
)
flaws = st.sampled_from(
    ["", "", "", "", "end", "method", "version", "segment", "origin", "framing", "line", "credential"]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request that is right, or nearly: at most one thing is wrong with it."""
    flaw = draw(flaws)
    framing, content = draw(contents)
    method = draw(methods) if flaw == "method" else draw(st.sampled_from([b"GET", b"POST"]))
    path = draw(st.lists(plain, max_size=3)) + ([draw(segments), b"admin"] if flaw == "segment" else [])
    target = (draw(origins) if flaw == "origin" else b"") + b"/" + b"/".join(path)
    fields = [HOST, *([] if flaw == "credential" else [TOKEN]), *(draw(framings) if flaw == "framing" else framing)]
    fields += draw(st.lists(others, max_size=2)) + ([draw(lines)] if flaw == "line" else [])
    version = draw(versions) if flaw == "version" else b"HTTP/1.1"
    parts = [b" ".join((method, target, version)), *draw(st.permutations(fields)), b""]
    odd = draw(st.integers(0, len(parts) - 1)) if flaw == "end" else -1
    return b"".join(part + (draw(ends) if number == odd else b"\r\n") for number, part in enumerate(parts)) + content


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """What a client sends on one connection; in one of eight a byte is another one."""
    sent = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=3))))
    if draw(st.integers(0, 7)) == 7:
        sent[draw(st.integers(0, len(sent) - 1))] = draw(st.integers(0, 255))
    return bytes(sent)


def read_liberally(target: str) -> list[str]:
    """A path as a backend may read it that decodes, merges slashes, cuts off parameters and resolves dots."""
    segments: list[str] = []
    for segment in re.split(r"[/\\]+", unquote(target.partition("?")[0])):
        name = segment.partition(";")[0]
        segments = segments[:-1] if name == ".." else [*segments, name] if name not in ("", ".") else segments
    return segments


@pytest.fixture
def backend() -> Iterator[RecordingBackend]:
    with RecordingBackend() as recording:
        yield recording


def test_whatever_is_sent(redis_url: str, backend: RecordingBackend, tmp_path: Path) -> None:
    """It is answered with a documented status or the connection is closed; what passes is what the access log says."""
    (tmp_path / "system.toml").write_text(POLICY.format(port=backend.port))
    options = ("--policies", str(tmp_path), "--redis", redis_url)
    gateway = GatewayServer(tmp_path, *options).wait()
    token = mint(redis_url, tmp_path, "--scope", "read")
    last = LAST % b"%b\r\n%b\r\n" % (HOST, TOKEN)

    @settings(
        max_examples=int(LONGER or 400),
        derandomize=LONGER is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(conversations())
    def send(sent: bytes) -> None:
        answer = send_raw(gateway.port, (sent + last + last).replace(b"TOKEN", token["token"].encode()))
        assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
        assert EXPECTED.issuperset(statuses_of(answer))

    try:
        send()
    finally:
        gateway.stop()
    assert "Traceback" not in gateway.text()
    assert [] == backend.misread
    compare(backend.take(), gateway.access_log, token["id"])


def compare(received: list[Received], access_log: Path, token: str) -> None:
    """Each request at the backend is one that was let in, as it was let in; nothing is there that the token may not."""
    lines = [json.loads(line) for line in access_log.read_text().splitlines()]
    records = {line["request_id"]: line for line in lines}
    assert len(records) == len(lines) > len(received) > 0
    seen = [one.field(b"x-request-id") for one in received]
    assert len(seen) == len(set(seen))
    for one in [one for one in received if one.is_complete]:
        record = records[(one.field(b"x-request-id") or b"").decode()]
        method, _, target = one.line.partition(" ")
        assert record["method"] == method
        assert record["path"] == target.partition("?")[0]
        assert record["token"] == token
        assert token == (one.field(b"x-gateway-token-id") or b"").decode()
        assert "" == record.get("reason", "")
        assert "a.example" == record["host"] == (one.field(b"x-forwarded-host") or b"").decode().partition(":")[0]
        assert ["admin"] != read_liberally(target)[:1], one.line
        assert b"x-evil" not in dict(one.fields)
