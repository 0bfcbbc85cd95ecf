"""Frames of a WebSocket, made by a WebSocket library and cut into pieces."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from gateway.core.http.websockets import GOING_AWAY, POLICY_VIOLATION, Frames, build_close

_frames = st.builds(
    Frame,
    opcode=st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.PING, Opcode.PONG]),
    data=st.binary(max_size=125) | st.sampled_from([bytes(126), bytes(65535), bytes(65536)]),
    fin=st.booleans(),
)


def serialize(frame: Frame, mask: bool = False) -> bytes:
    """The bytes of a frame; control frames as the library allows them."""
    if frame.opcode in {Opcode.PING, Opcode.PONG}:
        frame = Frame(frame.opcode, frame.data[:125])
    return frame.serialize(mask=mask)


def compressed(data: bytes) -> bytes:
    """The same frame as an extension would mark it."""
    return bytes((data[0] | 0x40,)) + data[1:]


@given(st.lists(_frames, max_size=5), st.booleans(), st.lists(st.integers(0, 200), max_size=20))
def test_where_frames_end_is_told_however_they_are_cut(frames: Sequence[Frame], mask: bool, cuts: list[int]) -> None:
    """Between two exactly where one has ended: lengths of all three kinds, masked, compressed, in any pieces."""
    whole = [serialize(frame, mask) for frame in frames]
    whole[:2] = [compressed(one) for one in whole[:2]]
    ends = {0}
    for one in whole:
        ends.add(max(ends) + len(one))
    data, position, followed = b"".join(whole), 0, Frames()
    for cut in (*cuts, len(data)):
        piece = data[position : position + cut]
        followed.feed(piece)
        position += len(piece)
        assert (position in ends) == followed.is_between
    assert not followed.is_closed


def test_a_close_frame_is_the_last() -> None:
    """It is known for one, also behind others in the same piece."""
    followed = Frames()
    followed.feed(Frame(Opcode.TEXT, b"hello").serialize(mask=False) + build_close(1000, "bye")[:1])
    assert not followed.is_closed
    followed.feed(build_close(1000, "bye")[1:])
    assert followed.is_closed
    assert followed.is_between


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"\x83\x00", b"\x8b\x00", b"\x82\x7f\xff" + bytes(7), b"\xff\xff\xff"],
    ids=["text", "data opcode", "control opcode", "length", "half a head"],
)
def test_what_is_no_frame_has_no_end(data: bytes) -> None:
    """Nothing is ever put behind bytes that cannot be told apart."""
    followed = Frames()
    followed.feed(data)
    followed.feed(b"\x81\x00")
    assert not followed.is_between


@pytest.mark.parametrize(("code", "reason"), [(GOING_AWAY, ""), (POLICY_VIOLATION, "invalid_token")])
def test_a_close_frame_is_as_a_library_makes_it(code: int, reason: str) -> None:
    """Unmasked, as a server's is."""
    assert Frame(Opcode.CLOSE, Close(code, reason).serialize()).serialize(mask=False) == build_close(code, reason)
