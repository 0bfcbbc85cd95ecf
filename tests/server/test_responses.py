"""Heads with the framing of their content."""

import pytest

from gateway.core.http.messages import Field, ResponseHead
from gateway.server.responses import LAST, PLAIN, ResponseOptions, build_whole

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH_5 = [(b"x-a", b"1"), (b"content-length", b"5"), (b"x-a", b"caf\xe9")]
LINES = b"x-a: 1\r\ncontent-length: 5\r\nx-a: caf\xe9\r\n"
HEAD = ResponseOptions(is_head=True)


@pytest.mark.parametrize(
    ("status", "fields", "content", "options", "expected"),
    [
        (200, LENGTH_5, b"hello", PLAIN, OK + LINES + b"\r\nhello"),
        (200, [(b"x-a", b"1")], b"hello", PLAIN, OK + b"x-a: 1\r\ncontent-length: 5\r\n\r\nhello"),
        (200, LENGTH_5, b"hello", LAST, OK + LINES + b"connection: close\r\n\r\nhello"),
        (200, LENGTH_5, b"", HEAD, OK + LINES + b"\r\n"),
        (200, [], b"", HEAD, OK + b"\r\n"),
        (200, LENGTH_5, b"hello", HEAD, OK + LINES + b"\r\n"),
        (304, [(b"etag", b'W/"1"')], b"", PLAIN, b'HTTP/1.1 304 Not Modified\r\netag: W/"1"\r\n\r\n'),
        (304, LENGTH_5, b"", PLAIN, b"HTTP/1.1 304 Not Modified\r\n" + LINES + b"\r\n"),
        (204, [], b"", PLAIN, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (499, [(b"content-length", b"0")], b"", PLAIN, b"HTTP/1.1 499 \r\ncontent-length: 0\r\n\r\n"),
    ],
)
def test_whole_answers(
    status: int, fields: list[Field], content: bytes, options: ResponseOptions, expected: bytes
) -> None:
    """The fields as they are, and a length where one is missing and there could be content; to HEAD never content."""
    assert expected == build_whole(ResponseHead(status, fields), content, options)
