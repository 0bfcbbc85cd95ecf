"""Content codings against independent readers, and what the encoder does at the same time."""

import asyncio
import gzip
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.adapters.encodings import encoder
from gateway.adapters.encodings.encoder import CODINGS, DECODINGS, INLINE_BYTES, ContentEncoder
from gateway.pipeline.fetch import Encoder
from tests.support.curl import find_curl

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DECODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"br": brotli.decompress,
    b"zstd": zstd.decompress,
    b"gzip": gzip.decompress,
}
LARGE = "".join(f'{{"id":{number},"text":"größer"}},\n' for number in range(20_000)).encode()


async def encode(coding: bytes, content: bytes) -> bytes:
    encoding = ContentEncoder()
    as_promised: Encoder = encoding
    try:
        return await as_promised.encode(coding, content)
    finally:
        encoding.close()


@pytest.mark.parametrize("coding", CODINGS)
@settings(deadline=None, derandomize=True)
@given(content=st.binary())
def test_content_comes_back_whole(coding: bytes, content: bytes) -> None:
    """Every coding gives back every content, byte for byte, and the same bytes each time."""
    encoded = CODINGS[coding](content)
    assert content == DECODERS[coding](encoded)
    assert encoded == CODINGS[coding](content)


@pytest.mark.parametrize("coding", CODINGS)
@settings(deadline=None, derandomize=True)
@given(content=st.binary(), spare=st.integers(0, 3), wrong=st.binary(max_size=20))
def test_what_is_encoded_is_decoded_within_its_limit(coding: bytes, content: bytes, spare: int, wrong: bytes) -> None:
    """Exactly so, and never in part: what is cut, broken or a byte too long is nothing."""
    encoded, decode = CODINGS[coding](content), DECODINGS[coding]
    assert content == decode(encoded, len(content) + spare)
    assert None is decode(encoded[:-1], len(content) + spare)
    assert None is (decode(encoded, len(content) - 1) if content else None)
    assert decode(wrong, 100) in (None, b"") or wrong == CODINGS[coding](decode(wrong, 100) or b"")


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_few_bytes_that_stand_for_many_are_given_up(coding: bytes) -> None:
    """Also where the limit is for the thread; nothing near all of it is ever in memory."""
    encoding = ContentEncoder()
    bomb = CODINGS[coding](bytes(64 * 1024 * 1024))
    assert None is await encoding.decode(coding, bomb, 1024 * 1024)
    assert bytes(10) == await encoding.decode(coding, CODINGS[coding](bytes(10)), 1024 * 1024)
    encoding.close()


@pytest.mark.parametrize("coding", [b"gzip", b"zstd"])
def test_several_members_are_one_content(coding: bytes) -> None:
    """As RFC 1952 and RFC 8878 have it; rubbish behind them is a fault."""
    twice = CODINGS[coding](b"one") + CODINGS[coding](b"two")
    assert b"onetwo" == DECODINGS[coding](twice, 6)
    assert None is DECODINGS[coding](twice, 5)
    assert None is DECODINGS[coding](twice + b"x", 100)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("content", [b"", LARGE[: INLINE_BYTES + 1], LARGE, LARGE * 12])
async def test_small_and_large_content_is_encoded_alike(coding: bytes, content: bytes) -> None:
    """In the thread or not: the bytes are the same, and fewer where there is something to gain."""
    encoded = await encode(coding, content)
    assert CODINGS[coding](content) == encoded
    assert content == DECODERS[coding](encoded)
    assert len(encoded) < len(content) / 5 or not content


def test_the_order_of_preference() -> None:
    """Of codings that a client likes equally it gets the one that came out smallest in the measurements."""
    assert (b"br", b"zstd", b"gzip") == ContentEncoder().offered


def test_gzip_has_no_time_in_it() -> None:
    """The same content is the same bytes tomorrow (RFC 1952 2.3: MTIME 0 is no time)."""
    assert b"\x1f\x8b\x08\x00\x00\x00\x00\x00" == CODINGS[b"gzip"](b"content")[:8]


def test_a_zstd_frame_fits_into_the_window_of_http() -> None:
    """RFC 9659 2: no more than 8 MiB of window, however large the content."""
    frame = CODINGS[b"zstd"](LARGE * 12)
    descriptor, window = frame[4], frame[5]
    assert not descriptor & 0x20  # no single segment, so there is a window descriptor (RFC 8878 3.1.1.1)
    assert 1 << (10 + (window >> 3)) <= 8 << 20


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, list[bytes]]]:
    """A coding that waits to be let go, and what it was given."""
    go, given_contents = threading.Event(), list[bytes]()

    def compress(content: bytes) -> bytes:
        given_contents.append(content)
        assert go.wait(30)
        return b"encoded"

    monkeypatch.setitem(encoder.CODINGS, b"br", compress)
    yield go, given_contents
    go.set()


async def test_large_content_is_encoded_once_for_all_who_wait(held: tuple[threading.Event, list[bytes]]) -> None:
    """Several who want the same share one run; one that goes away takes it from nobody; the loop goes on meanwhile."""
    go, given_contents = held
    encoding = ContentEncoder()
    waiting = [asyncio.create_task(encoding.encode(b"br", LARGE)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    go.set()
    assert [b"encoded"] * 2 == await asyncio.gather(*waiting[1:])
    assert [LARGE] == given_contents
    assert b"encoded" == await encoding.encode(b"br", LARGE)  # nothing is kept here: that is the cache's work
    assert [LARGE, LARGE] == given_contents
    encoding.close()


class Unread(bytes):
    """Content that must not be read on the event loop."""

    def __hash__(self) -> int:
        raise AssertionError("the event loop reads all of the content")


async def test_the_event_loop_does_not_read_large_content() -> None:
    """Who asks for the same is known without a look at it: of 64 MiB that would hold up others for 15 ms."""
    encoding = ContentEncoder()
    content = Unread(LARGE)
    encoded = await asyncio.gather(encoding.encode(b"br", content), encoding.encode(b"br", content))
    assert [LARGE] * 2 == [brotli.decompress(one) for one in encoded]
    encoding.close()


async def test_a_failure_reaches_all_who_wait_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one run raises is raised to those who share it; the next begins anew."""

    def fail(content: bytes) -> bytes:
        raise MemoryError

    encoding = ContentEncoder()
    with monkeypatch.context() as patch:
        patch.setitem(encoder.CODINGS, b"br", fail)
        both = (encoding.encode(b"br", LARGE), encoding.encode(b"br", LARGE))
        assert [MemoryError] * 2 == [type(result) for result in await asyncio.gather(*both, return_exceptions=True)]
    assert LARGE == brotli.decompress(await encoding.encode(b"br", LARGE))
    encoding.close()


@pytest.mark.parametrize("coding", CODINGS)
def test_curl_reads_it(coding: bytes) -> None:
    """A client that shares no code with us decodes each coding as HTTP has it."""
    curl = find_curl(coding.decode())

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = CODINGS[coding](LARGE)
            self.send_response(200)
            self.send_header("Content-Encoding", coding.decode())
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            command = [curl, "-fsS", "--compressed", f"http://127.0.0.1:{server.server_port}/"]
            assert LARGE == subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        finally:
            server.shutdown()
            serving.join()
