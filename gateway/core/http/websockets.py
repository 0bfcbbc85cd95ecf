"""Frames of a WebSocket (RFC 6455 5.2), as far as a gateway that relays bytes needs to know them: where they end.

    frame = FIN/RSV/opcode MASK/length [extended length] [masking key] payload
            1 byte         1 byte      2 or 8 bytes      4 bytes       length bytes

A close frame may stand between any two frames, also between the fragments of one message (5.4).
"""

GOING_AWAY = 1001
"""The close code (7.4.1) of a server that stops."""
POLICY_VIOLATION = 1008
"""The close code of a WebSocket whose token is no longer allowed to use it."""
_CLOSE = 0x8
_OPCODES = frozenset({0x0, 0x1, 0x2, _CLOSE, 0x9, 0xA})
_EXTENDED_BYTES = {126: 2, 127: 8}
_MASK_BYTES = 4


class Frames:
    """The frames of one direction, whose bytes come in pieces of any size."""

    def __init__(self) -> None:
        self.is_closed = False
        """Whether a close frame was among them: nothing may follow it."""
        self._head = bytearray()
        self._payload_bytes = 0
        """Bytes of the current frame's payload that are still to come."""
        self._is_broken = False

    @property
    def is_between(self) -> bool:
        """Whether everything so far was whole frames."""
        return not (self._head or self._payload_bytes or self._is_broken)

    def feed(self, data: bytes) -> None:
        """Read more bytes. If they are no valid frames, `is_between` stays false from then on."""
        position = 0
        while position < len(data) and not self._is_broken:
            if self._payload_bytes:
                taken = min(self._payload_bytes, len(data) - position)
                self._payload_bytes -= taken
            else:
                taken = self._missing_head_bytes()
                self._head += data[position : position + taken]
                if not self._missing_head_bytes():
                    self._end_head()
            position += taken

    def _missing_head_bytes(self) -> int:
        """Return how many bytes of the head are missing, as far as its length is known."""
        head = self._head
        if len(head) < 2:
            return 2 - len(head)
        extended = _EXTENDED_BYTES.get(head[1] & 0x7F, 0)
        return 2 + extended + (_MASK_BYTES if head[1] & 0x80 else 0) - len(head)

    def _end_head(self) -> None:
        head, opcode = self._head, self._head[0] & 0x0F
        short = head[1] & 0x7F
        extended = _EXTENDED_BYTES.get(short, 0)
        self._payload_bytes = int.from_bytes(head[2 : 2 + extended], "big") if extended else short
        self._is_broken = opcode not in _OPCODES or self._payload_bytes >= 1 << 63
        self.is_closed = self.is_closed or opcode == _CLOSE
        self._head = bytearray()


def build_close(code: int, reason: str = "") -> bytes:
    """Build a close frame of a server, which is not masked (5.1); `reason` has at most 123 bytes."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes((0x80 | _CLOSE, len(payload))) + payload
