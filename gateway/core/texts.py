"""Texts that people choose: how long they may be."""

from gateway.core.errors import ChangeRefused

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What editors and exporters put before a text in UTF-8: no part of it (RFC 8259 8.1 lets readers ignore it)."""
MAXIMUM_NAME_LENGTH = 255
MAXIMUM_DESCRIPTION_LENGTH = 2000
MAXIMUM_BINDING_LENGTH = 128
"""Of a project's or owner's id: it becomes part of names in Redis and of fields to the backend."""


def check_text(what: str, text: str, maximum: int) -> None:
    """ChangeRefused for a text that is too long or could not be shown on one line."""
    if len(text) > maximum:
        raise ChangeRefused(f"{what} has at most {maximum} characters, this has {len(text)}")
    if not text.isprintable():
        raise ChangeRefused(f"{what} has no control characters")


def check_lines(what: str, text: str, maximum: int) -> None:
    """The same for a text of several lines."""
    check_text(what, text.replace("\n", " ").replace("\t", " "), maximum)
