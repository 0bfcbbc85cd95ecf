"""Sessions: when they end, and what their forms carry."""

import pytest

from gateway.core.pages.sessions import (
    ID_BYTES,
    IDLE_SECONDS,
    LENGTH_SECONDS,
    RESOLUTION_SECONDS,
    build_id,
    form_token,
    is_form_token,
    is_over,
    open_session,
    parse_id,
    seen,
    session_digest,
)

NOW = 1_800_000_000
ID = build_id(bytes(range(ID_BYTES)))


def test_a_session_ends_when_it_is_idle() -> None:
    """In the last second it holds, in the next it does not."""
    session = open_session("t", NOW)
    assert not is_over(session, NOW + IDLE_SECONDS - 1)
    assert is_over(session, NOW + IDLE_SECONDS)


def test_a_session_ends_however_busy_it_is() -> None:
    """Whoever clicks all day is asked again after LENGTH_SECONDS."""
    session, now = open_session("t", NOW), NOW
    while now < NOW + LENGTH_SECONDS - 1:
        now = min(now + IDLE_SECONDS - 1, NOW + LENGTH_SECONDS - 1)
        assert not is_over(session, now)
        session = seen(session, now) or session
    assert is_over(session, NOW + LENGTH_SECONDS)


def test_requests_close_to_each_other_are_noted_once() -> None:
    """Within the resolution nothing is written, and the end moves by no more than that."""
    session = open_session("t", NOW)
    assert seen(session, NOW + RESOLUTION_SECONDS - 1) is None
    renewed = seen(session, NOW + RESOLUTION_SECONDS)
    assert renewed is not None
    assert NOW == renewed.opened_at
    assert NOW + RESOLUTION_SECONDS == renewed.seen_at


def test_an_id_has_all_random_bits() -> None:
    """Too few are refused, and what is built is what is parsed."""
    assert ID == parse_id(ID)
    with pytest.raises(ValueError, match="32 random bytes"):
        build_id(bytes(ID_BYTES - 1))


@pytest.mark.parametrize("text", ["", "short", ID + "a", ID[:-1] + "*", ID[:-1] + "\n", ID[:-1] + "é"])
def test_what_cannot_be_an_id_is_none(text: str) -> None:
    """It never reaches Redis."""
    assert parse_id(text) is None


def test_neither_digest_nor_form_token_tells_the_id() -> None:
    """What Redis has and what pages show open no session."""
    assert ID not in session_digest(ID)
    assert ID not in form_token(ID)
    assert session_digest(ID) != form_token(ID)


def test_a_form_token_is_of_one_session() -> None:
    """That of another session, none and odd texts are no form token."""
    other = build_id(bytes(ID_BYTES))
    assert is_form_token(form_token(ID), ID)
    assert [False] * 3 == [is_form_token(text, ID) for text in (form_token(other), "", "é" * 64)]
