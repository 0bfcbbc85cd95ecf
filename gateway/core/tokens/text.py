"""Token text: how it is minted, checked without IO, digested and displayed.

    token-text = prefix *base62 6base62      ; the last six: CRC-32 of all before them, base62, zero-padded

The layout is GitHub's: the prefix lets secret scanners recognise it, the checksum lets the gateway refuse typos and
guesses without asking Redis. Random text needs no slow hash: at least 160 bits cannot be guessed, so one HMAC-SHA-256
(SHA-256 without a pepper) is stored, and nothing else of the token.

This module also bounds texts that people choose.
"""

import hashlib
import hmac
import math
import zlib

import msgspec

from gateway.core.errors import ChangeRefused

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CHECKSUM_LENGTH = 6
"""62**6 > 2**32: six characters hold any CRC-32."""
MINIMUM_RANDOM_BITS = 160
MINIMUM_RANDOM_LENGTH = math.ceil(MINIMUM_RANDOM_BITS / math.log2(62))
MAXIMUM_TEXT_LENGTH = 512
"""Longer credentials are refused before they are hashed; no product's tokens come near this length."""
ID_LENGTH = 24
"""96 bits of the digest in hex: no two of a billion tokens share an id (chance below 1e-11)."""
BUCKET_DIGITS = 2
"""Tokens fall into 256 buckets by the first byte of their digest; a bucket is in one slot of a Cluster."""

_PAIRS = [first + second for first in BASE62 for second in BASE62]
_PAIR_BASE = len(_PAIRS)


class TokenFormat(msgspec.Struct, frozen=True):
    """The format of a policy's tokens. `length` counts the characters after the prefix, checksum included."""

    prefixes: tuple[str, ...]
    length: int
    checksum: bool
    shown: int
    """Characters of the text that are kept for display."""
    shown_random: int | None = None
    """Replaces `shown`: characters after the prefix, which is kept whole."""

    def shown_length(self, text: str) -> int:
        """Return how many characters of a text are kept for display."""
        if self.shown_random is None:
            return self.shown
        return self.shown_random + max((len(one) for one in self.prefixes if text.startswith(one)), default=0)


ADMIN_FORMAT = TokenFormat(("gwa_",), 40, checksum=True, shown=12)
"""Tokens of the management API (core/tokens/admin_tokens.py)."""


def mint(token_format: TokenFormat, random_bytes: bytes) -> str:
    """Mint a token text from random bytes. Raise ValueError for fewer than `random_bytes_needed(token_format)`."""
    random_length = token_format.length - (CHECKSUM_LENGTH if token_format.checksum else 0)
    if len(random_bytes) < random_bytes_needed(token_format):
        raise ValueError(f"minting needs {random_bytes_needed(token_format)} random bytes, got {len(random_bytes)}")
    text = token_format.prefixes[0] + _base62(int.from_bytes(random_bytes, "big") % 62**random_length, random_length)
    return text + build_checksum(text) if token_format.checksum else text


def random_bytes_needed(token_format: TokenFormat) -> int:
    """Return how many bytes to draw for one token.

    They are 128 bits more than the text holds, so that the remainder has no measurable bias.
    """
    return math.ceil(token_format.length * math.log2(62) / 8) + 16


def build_checksum(text: str) -> str:
    """Return the last six characters of a token that begins with `text`."""
    rest, low = divmod(zlib.crc32(text.encode()), _PAIR_BASE)
    high, middle = divmod(rest, _PAIR_BASE)
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]


def is_well_formed(text: str, token_format: TokenFormat) -> bool:
    """Return whether `text` could have been minted under the format.

    Without a checksum, only prefix and length are checked.
    """
    if not token_format.checksum:
        return len(text) <= MAXIMUM_TEXT_LENGTH and text.startswith(token_format.prefixes)
    start = len(text) - token_format.length
    return (
        start > 0
        and text[:start] in token_format.prefixes
        and text[start:].isalnum()
        and text.isascii()
        and build_checksum(text[:-CHECKSUM_LENGTH]) == text[-CHECKSUM_LENGTH:]
    )


def digest(text: str, pepper: bytes) -> str:
    """Return what is stored of a token: HMAC-SHA-256 under the pepper, SHA-256 without one; 64 hex digits."""
    if pepper:
        return hmac.digest(pepper, text.encode(), "sha256").hex()
    return hashlib.sha256(text.encode()).hexdigest()


def token_id(token_digest: str) -> str:
    """Return the public name of a token, safe in logs: the beginning of its digest."""
    return token_digest[:ID_LENGTH]


def bucket_of(digest_or_id: str) -> str:
    """Return the bucket that a token falls into, by its digest or its id."""
    return digest_or_id[:BUCKET_DIGITS]


def shown_part(text: str, token_format: TokenFormat) -> str:
    """Return the beginning of the text that lists may show."""
    return text[: token_format.shown_length(text)]


def _base62(number: int, length: int) -> str:
    digits: list[str] = []
    for _ in range(length):
        number, remainder = divmod(number, 62)
        digits.append(BASE62[remainder])
    return "".join(reversed(digits))


BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""The byte order mark that editors and exporters put before UTF-8; RFC 8259 8.1 lets readers ignore it."""
MAXIMUM_NAME_LENGTH = 255
MAXIMUM_DESCRIPTION_LENGTH = 2000
MAXIMUM_BINDING_LENGTH = 128
"""The most characters of a project's or owner's id: it is part of keys in Redis and of fields to the backend."""


def check_text(what: str, text: str, maximum: int) -> None:
    """Raise ChangeRefused if a text is too long or could not be shown on one line."""
    if len(text) > maximum:
        raise ChangeRefused(f"{what} has at most {maximum} characters, this has {len(text)}")
    if not text.isprintable():
        raise ChangeRefused(f"{what} has no control characters")


def check_lines(what: str, text: str, maximum: int) -> None:
    """Raise ChangeRefused if a text of several lines is too long or cannot be shown."""
    check_text(what, text.replace("\n", " ").replace("\t", " "), maximum)
