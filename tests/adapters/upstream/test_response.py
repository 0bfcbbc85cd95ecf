"""What counts as a response, and where it ends: ResponseReader alone, then over sockets."""

import asyncio

import msgspec
import pytest

from gateway.adapters.upstream.wire import MAXIMUM_HEAD_BYTES, Framing, ResponseReader, expect
from gateway.core.errors import UpstreamBroken
from gateway.core.http.messages import ResponseHead, field_values
from gateway.core.policies.model import FieldEdits
from tests.adapters.raw_backend import (
    OK,
    Peer,
    RawBackend,
    always,
    fetch,
    http_upstreams,
    on_both_loops,
    once,
    read_all,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

COMPLETE = {
    "content-length": ("GET", OK, 200, b"ok"),
    "chunked": ("GET", CHUNKED + b"2;x=y\r\nok\r\n3\r\nay!\r\n0\r\nX-Trailer: 1\r\n\r\n", 200, b"okay!"),
    "empty": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "no reason phrase": ("GET", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "204": ("DELETE", b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", 204, b""),
    "304 with length": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n", 304, b""),
    "HEAD with length": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", 200, b""),
    "HEAD with chunked": ("HEAD", CHUNKED, 200, b""),
    "HEAD after 103": ("HEAD", EARLY_HINTS + b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, b""),
    "100 before": ("POST", b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok"),
    "103 before": ("GET", EARLY_HINTS + OK, 200, b"ok"),
    "several before": ("GET", b"HTTP/1.1 100 Continue\r\n\r\n" + 2 * EARLY_HINTS + OK, 200, b"ok"),
}
BROKEN = {
    "garbage status line": b"GARBAGE\r\n\r\nok",
    "unknown version": b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 99": b"HTTP/1.1 99 X\r\nContent-Length: 2\r\n\r\nok",
    "status 000": b"HTTP/1.1 000 X\r\nContent-Length: 2\r\n\r\nok",
    "status 600": b"HTTP/1.1 600 X\r\nContent-Length: 2\r\n\r\nok",
    "status 999": b"HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\nok",
    "101 unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw",
    "101 without upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "field without colon": b"HTTP/1.1 200 OK\r\nbroken\r\nContent-Length: 2\r\n\r\nok",
    "space before colon": b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 2\r\n\r\nok",
    "empty field name": b"HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 2\r\n\r\nok",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 2\r\n\r\nok",
    "NUL in value": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "bare CR in value": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "bare LF lines": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "conflicting lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokx",
    "list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
    "chunked and length": CHUNKED[:-2] + b"Content-Length: 3\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" + CHUNKED[17:] + b"2\r\nok\r\n0\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "coding below chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "codings in two fields": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n" + CHUNKED[17:] + b"2\r\nok\r\n0\r\n\r\n",
    "bad chunk size": CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",
    "negative chunk size": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"2\r\nhello\r\n0\r\n\r\n",
    "bare LF after chunk size": CHUNKED + b"5\nhello\r\n0\r\n\r\n",
    "large field": b"HTTP/1.1 200 OK\r\nX: " + b"a" * (MAXIMUM_HEAD_BYTES + 1) + b"\r\nContent-Length: 2\r\n\r\nok",
    "many fields": b"HTTP/1.1 200 OK\r\n" + 9000 * b"X-A: 123\r\n" + b"Content-Length: 2\r\n\r\nok",
    "endless field": b"HTTP/1.1 200 OK\r\nX: " + b"a" * (MAXIMUM_HEAD_BYTES + 1),
    "endless reason phrase": b"HTTP/1.1 200 " + b"a" * (MAXIMUM_HEAD_BYTES + 1),
    "endless interim responses": (MAXIMUM_HEAD_BYTES // len(EARLY_HINTS) + 1) * EARLY_HINTS,
    "endless trailer": CHUNKED + b"0\r\nX: " + b"a" * (MAXIMUM_HEAD_BYTES + 1),
    "endless chunk extension": CHUNKED + b"5;" + b"a" * (MAXIMUM_HEAD_BYTES + 1),
}
CUT = {
    "nothing": b"",
    "in the status line": b"HTTP/1.1 20",
    "in the head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "after an interim response": EARLY_HINTS,
    "before the content": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "in the content": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    "before the first chunk": CHUNKED,
    "in a chunk": CHUNKED + b"9\r\nhello",
    "before the last chunk": CHUNKED + b"5\r\nhello\r\n",
    "in the last chunk": CHUNKED + b"5\r\nhello\r\n0\r\n",
    "in the trailers": CHUNKED + b"5\r\nhello\r\n0\r\nX: y\r\n",
}


def read(method: str, *pieces: bytes) -> ResponseReader:
    reader = ResponseReader()
    reader.expect(method)
    for piece in pieces:
        reader.feed(piece)
    return reader


@pytest.mark.parametrize("name", COMPLETE)
def test_complete_at_every_split(name: str) -> None:
    """A response is the same however the network cuts it, and complete at its last byte, not before."""
    method, raw, status, content = COMPLETE[name]
    single_bytes = [raw[i : i + 1] for i in range(len(raw))]
    for pieces in [[raw], single_bytes, *([raw[:i], raw[i:]] for i in range(1, len(raw)))]:
        assert not read(method, *pieces[:-1], pieces[-1][:-1]).is_complete
        reader = read(method, *pieces)
        assert reader.head is not None
        assert reader.is_complete
        assert reader.head.status == status
        assert reader.take() == content
        assert reader.may_be_followed


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("surplus", [b"E", b"0\r\n\r\n", OK])
def test_bytes_after_the_response(name: str, surplus: bytes) -> None:
    """Whatever follows a response in the same packet does not change it, and nothing else may follow."""
    method, raw, status, content = COMPLETE[name]
    reader = read(method, raw + surplus)
    assert reader.head is not None
    assert reader.is_complete
    assert reader.head.status == status
    assert reader.take() == content
    assert not reader.may_be_followed


@pytest.mark.parametrize("name", BROKEN)
def test_broken_at_every_split(name: str) -> None:
    """What is no response is refused, in one piece or byte by byte."""
    raw = BROKEN[name]
    with pytest.raises(UpstreamBroken):
        read("GET", raw)
    with pytest.raises(UpstreamBroken):
        read("GET", *(raw[i : i + 1] for i in range(len(raw))))


def test_the_reason_is_told() -> None:
    """The error says what was wrong, also where it is our own rule that was broken."""
    with pytest.raises(UpstreamBroken, match="the status 999"):
        read("GET", BROKEN["status 999"])
    with pytest.raises(UpstreamBroken, match="Invalid header token"):
        read("GET", BROKEN["field without colon"])
    with pytest.raises(UpstreamBroken, match="larger than 65536 bytes"):
        read("GET", BROKEN["large field"])


@pytest.mark.parametrize("name", CUT)
def test_cut_is_not_complete(name: str) -> None:
    """An orderly close ends only a response that has no other framing."""
    reader = ResponseReader()
    reader.expect("GET")
    if CUT[name]:
        reader.feed(CUT[name])
    reader.feed_end()
    assert not reader.is_complete


def test_large_content_with_the_head() -> None:
    """The limit is on the head, not on what comes in one packet with it."""
    size = 3 * MAXIMUM_HEAD_BYTES
    reader = read("GET", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size)
    assert len(reader.take()) == size


def test_a_part_comes_only_to_who_asked_for_one() -> None:
    """An unasked 206 would be taken for the whole (RFC 9110 15.3.7): it is broken, and with Range it is not."""
    part = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok"
    reader = ResponseReader()
    reader.expect("GET")
    with pytest.raises(UpstreamBroken, match="206"):
        reader.feed(part)
    reader.expect("GET", expect([(b"range", b"bytes=0-1")], Framing.LENGTH))
    reader.feed(part)
    assert reader.is_complete


def test_interim_answers_are_kept_for_the_client() -> None:
    """RFC 9110 15.2: all but 100, which is the gateway's own to say, and whose fields are no others'."""
    reader = ResponseReader()
    reader.expect("GET")
    reader.feed(b"HTTP/1.1 100 Continue\r\nX-A: 1\r\n\r\n" + EARLY_HINTS + b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
    assert [(103, [(b"link", b"</a>")]), (102, [])] == [(head.status, head.fields) for head in reader.interim]
    assert reader.head is not None
    assert [(b"content-length", b"2")] == reader.head.fields
    reader.expect("GET")
    assert [] == reader.interim


@on_both_loops
async def test_interim_answers_come_before_the_answer() -> None:
    """Each as it comes, with the fields that the policy has changed, on a connection that is used again."""
    got: list[ResponseHead] = []
    edits = FieldEdits(frozenset({b"xsecret"}), ((b"x-own", b"1"),))
    early = EARLY_HINTS.replace(b"Link", b"X-Secret: 1\r\nLink")
    async with RawBackend(always(early + OK)) as backend, http_upstreams() as upstreams:
        address = msgspec.structs.replace(backend.address(), response_edits=edits)
        for _ in range(2):
            assert 200 == (await upstreams.send(address, "GET", "/", [], None, got.append)).head.status
        assert 200 == (await upstreams.send(address, "GET", "/", [], None)).head.status
        assert 1 == len(backend.peers)
    assert [ResponseHead(103, [(b"link", b"</a>"), (b"x-own", b"1")])] * 2 == got


def test_white_space_behind_a_value_is_no_part_of_it() -> None:
    """RFC 9110 5.5: a tag or a directive with a space behind it is the same one."""
    reader = ResponseReader()
    reader.expect("GET")
    reader.feed(b'HTTP/1.1 200 OK\r\nETag: "a" \t\r\nContent-Length: 0 \r\n\r\n')
    assert reader.head is not None
    assert [(b"etag", b'"a"'), (b"content-length", b"0")] == reader.head.fields


def test_many_small_chunks() -> None:
    """Framing between pieces of content is bounded piece by piece, not in total."""
    reader = read("GET", CHUNKED, *(2 * MAXIMUM_HEAD_BYTES // 6 * [b"1\r\na\r\n"]), b"0\r\n\r\n")
    assert reader.is_complete


@pytest.mark.parametrize(
    ("raw", "may_be_followed"),
    [
        (OK, True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", False),
    ],
)
def test_persistence(raw: bytes, may_be_followed: bool) -> None:
    """Only HTTP/1.1 without `Connection: close` keeps the connection (RFC 9112 9.3)."""
    assert read("GET", raw).may_be_followed == may_be_followed


@on_both_loops
@pytest.mark.parametrize("name", COMPLETE)
async def test_complete_over_sockets(name: str) -> None:
    """A complete response comes as bytes, and its connection serves the next request."""
    method, raw, status, content = COMPLETE[name]
    async with RawBackend(always(raw)) as backend, http_upstreams() as upstreams:
        for _ in range(3):
            response = await upstreams.send(backend.address(), method, "/", [], None)
            assert response.head.status == status
            assert response.content == content
        assert len(backend.peers) == 1


@on_both_loops
@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("end", ["close", "keep"])
async def test_broken_over_sockets(name: str, end: str) -> None:
    """A broken response is an error, never a clean end and never a hang; nothing is asked twice."""
    async with RawBackend(once(BROKEN[name], end=end)) as backend, http_upstreams() as upstreams:
        with pytest.raises(UpstreamBroken):
            await fetch(upstreams, backend.address())
        if end == "keep":
            await (await backend.peer()).closed.wait()
        assert len(backend.heads) == 1


@on_both_loops
@pytest.mark.parametrize("name", CUT)
async def test_cut_over_sockets(name: str) -> None:
    """A response that breaks off is an error, and no new connection is tried."""
    async with RawBackend(once(CUT[name], end="close")) as backend, http_upstreams() as upstreams:
        with pytest.raises(UpstreamBroken):
            await fetch(upstreams, backend.address())
        assert len(backend.heads) == 1


@on_both_loops
@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        CHUNKED + b"5\r\nhello\r\n",
    ],
)
async def test_reset_in_the_content(start: bytes) -> None:
    """A reset in mid-content is an error, also where a close would be the end of the response."""
    async with RawBackend(once(start, end="reset")) as backend, http_upstreams() as upstreams:
        response = await upstreams.send(backend.address(), "GET", "/", [], None)
        assert not isinstance(response.content, bytes)
        assert await anext(aiter(response.content)) == b"hello"
        (await backend.peer()).may_end.set()
        with pytest.raises(UpstreamBroken):
            await read_all(response)


@on_both_loops
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_close_delimited(version: bytes) -> None:
    """A response without framing ends with an orderly close; the connection is gone."""
    raw = b"HTTP/%b 200 OK\r\n\r\nhello" % version
    async with RawBackend(once(raw, end="close")) as backend, http_upstreams() as upstreams:
        for number in (1, 2):
            head, content = await fetch(upstreams, backend.address())
            assert head.status == 200
            assert content == b"hello"
            assert len(backend.peers) == number


@on_both_loops
async def test_bad_chunk_after_the_head() -> None:
    """Framing that breaks after the head has been passed on ends the content with an error."""

    async def script(peer: Peer) -> None:
        await peer.answer(CHUNKED + b"2\r\nok\r\n")
        await peer.may_end.wait()
        peer.writer.write(b"zz\r\n")
        await peer.read_to_end()

    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        response = await upstreams.send(backend.address(), "GET", "/", [], None)
        assert not isinstance(response.content, bytes)
        assert await anext(aiter(response.content)) == b"ok"
        peer = await backend.peer()
        peer.may_end.set()
        with pytest.raises(UpstreamBroken):
            await anext(aiter(response.content))
        with pytest.raises(StopAsyncIteration):
            await anext(aiter(response.content))
        await peer.closed.wait()


@on_both_loops
async def test_byte_by_byte_over_sockets() -> None:
    """A backend that writes single bytes is understood, and its connection kept."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.read_head()
            for i in range(len(raw)):
                peer.writer.write(raw[i : i + 1])
                await peer.writer.drain()
                await asyncio.sleep(0)

    raw = COMPLETE["chunked"][1]
    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        for _ in range(2):
            assert (await fetch(upstreams, backend.address()))[1] == b"okay!"
        assert len(backend.peers) == 1


@on_both_loops
async def test_fields_of_the_response() -> None:
    """Field lines keep their order, repeats and bytes; names come in lower case."""
    raw = (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-L: caf\xe9\r\nx-u: \xc3\xa9\r\nset-cookie: b=2\r\n"
        b"X-Empty:\r\nContent-Length: 2\r\n\r\nok"
    )
    async with RawBackend(always(raw)) as backend, http_upstreams() as upstreams:
        head, _ = await fetch(upstreams, backend.address())
    assert field_values(head.fields, b"set-cookie") == [b"a=1", b"b=2"]
    assert [name for name, _ in head.fields] == [
        b"set-cookie",
        b"x-l",
        b"x-u",
        b"set-cookie",
        b"x-empty",
        b"content-length",
    ]
    assert [value for _, value in head.fields] == [b"a=1", b"caf\xe9", b"\xc3\xa9", b"b=2", b"", b"2"]


@on_both_loops
@pytest.mark.parametrize("surplus", [b"EXTRA", b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_surplus_never_answers_the_next_request(surplus: bytes, method: str) -> None:
    """Bytes after a response close the connection: the next request gets its own answer, on a new one."""
    raw = OK if method == "GET" else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    async with RawBackend(always(raw + surplus)) as backend, http_upstreams() as upstreams:
        for number in (1, 2):
            head, content = await fetch(upstreams, backend.address(), method)
            assert head.status == 200
            assert content == raw[-2:].strip()
            assert len(backend.peers) == number


@on_both_loops
async def test_late_surplus_closes_the_idle_connection() -> None:
    """Bytes on an idle connection are nobody's answer."""

    async def script(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.may_end.wait()
        peer.writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nEVIL")
        await peer.read_to_end()

    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        assert (await fetch(upstreams, backend.address()))[1] == b"ok"
        peer = await backend.peer()
        peer.may_end.set()
        await peer.closed.wait()
        assert (await fetch(upstreams, backend.address()))[1] == b"ok"
        assert len(backend.peers) == 2
