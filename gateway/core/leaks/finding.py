"""Find tokens in bytes, by their prefix, their length and their checksum.

A text of a format with a checksum is a token: chance makes one of 2**32 candidates such a text. Without a checksum it
only looks like one, so it must stand by itself and have letters and digits.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec

from gateway.core.tokens.text import TokenFormat, is_well_formed

UTF_16_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
"""Byte order marks. Without one, UTF-16 is not recognised."""
_WORD = re.compile(rb"[0-9A-Za-z]")


class Found(msgspec.Struct, frozen=True):
    """A token in bytes."""

    offset: int
    text: str
    is_checked: bool
    """Whether it has a checksum. If not, only a store can tell whether it is one."""

    def __repr__(self) -> str:
        return f"Found(offset={self.offset})"


class Finder:
    """Finds tokens of some formats."""

    def __init__(self, formats: Iterable[TokenFormat]) -> None:
        self._formats = {(prefix.encode(), one.length, one.checksum): one for one in formats for prefix in one.prefixes}
        self.overlap = max((len(prefix) + length for prefix, length, _ in self._formats), default=0) + 1
        """Bytes that two windows of a long content must share, so that no token is cut by both."""

    def find_tokens(self, content: bytes) -> Iterator[Found]:
        """Yield the tokens in some bytes, each place once. A search for each prefix costs about 2 ms a megabyte."""
        seen: set[int] = set()
        for (prefix, length, is_checked), token_format in self._formats.items():
            start = content.find(prefix)
            while start >= 0:
                end = start + len(prefix) + length
                if end not in seen and self._is_token(content, start, end, token_format):
                    seen.add(end)
                    yield Found(start, content[start:end].decode("ascii"), is_checked)
                start = content.find(prefix, start + 1)

    def _is_token(self, content: bytes, start: int, end: int, token_format: TokenFormat) -> bool:
        candidate = content[start:end]
        if len(candidate) < end - start or not candidate.isascii():
            return False
        text = candidate.decode("ascii")
        if token_format.checksum:
            return is_well_formed(text, token_format)
        body = text[-token_format.length :]
        stands_alone = not _WORD.match(content[start - 1 : start]) and not _WORD.match(content[end : end + 1])
        return stands_alone and body.isalnum() and not body.isalpha() and not body.isdigit()
