"""What a token made is known, and ends with it."""

import itertools
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest

from gateway.core.errors import ChangeRefused, NotFound, TokenEnded
from gateway.core.tokens.audit import Actor, AuditQuery
from gateway.core.tokens.changes import TokenChange, TokenRequest, TokenState
from gateway.core.tokens.views import TokenView
from gateway.management import Management
from tests.management.conftest import build
from tests.support.connections import open_connection

pytestmark = pytest.mark.redis

ADA = Actor("ada", "operator")


def by(view: TokenView) -> Actor:
    """Whoever presents a token."""
    return Actor(view.record.name, "token", view.identity)


async def make(management: Management, name: str, maker: TokenView | None = None, policy: str = "small") -> TokenView:
    """A token of the project website, made with another one or at a command line."""
    request = TokenRequest(name=name, project="website")
    return (await management.create_token(by(maker) if maker else ADA, policy, request)).view


async def states(management: Management, views: Iterable[TokenView]) -> list[TokenState]:
    return [(await management.get_token(view.identity)).state for view in views]


async def test_who_made_a_token_is_known(management: Management) -> None:
    """The token that was presented, for a new one, a child and a successor; nobody, at a command line."""
    first = await make(management, "first")
    second = await make(management, "second", first)
    child = (await management.create_child(by(second), second.identity, TokenRequest(name="child"))).view
    successor = (await management.rotate_token(by(first), second.identity, 3600)).view
    rotated = (await management.rotate_token(ADA, first.identity, 3600)).view
    made_by = [view.record.made_by for view in (first, second, child, successor, rotated)]
    assert ["", first.identity, second.identity, first.identity, ""] == made_by
    assert {"second", "child"} == {view.record.name for view in await management.list_made(first.identity)}
    assert {second.identity, child.identity, successor.identity} == {
        view.identity for view in await management.list_made(first.identity)
    }


async def test_a_token_ends_with_all_that_was_made_with_it(management: Management) -> None:
    """However far away, in whatever policy, also what an operator made of it; each with its entry of the history."""
    leaked, other = await make(management, "leaked"), await make(management, "other")
    second = await make(management, "second", leaked, "unique")
    third = await make(management, "third", second)
    successor = (await management.rotate_token(by(third), third.identity, 3600)).view
    child = (await management.create_child(ADA, leaked.identity, TokenRequest(name="child"))).view
    stays = [other, await make(management, "stays", other)]
    ended = [leaked, second, third, successor, child]
    revoked = await management.revoke_with_made(ADA, leaked.identity)
    assert {view.identity for view in ended} == set(revoked)
    assert [TokenState.REVOKED] * 5 == await states(management, ended)
    assert [TokenState.ACTIVE] * 2 == await states(management, stays)
    history = await management.search_audit(AuditQuery(action="token.revoke"))
    assert {view.identity for view in ended} == {entry.target for entry in history}
    assert [] == await management.revoke_with_made(ADA, leaked.identity)


async def test_of_what_a_program_made_a_page_sees_a_part(management: Management) -> None:
    """Some of many where a bound is given, and all of few; the end of the token is the end of all."""
    program = await make(management, "program")
    made = [await make(management, f"token {number}", program) for number in range(30)]
    assert 30 == len(await management.list_made(program.identity))
    assert 30 == len(await management.list_made(program.identity, 40))
    part = await management.list_made(program.identity, 10)
    assert 10 < len(part) < 30
    assert {view.identity for view in part} < {view.identity for view in made}
    assert 31 == len(await management.revoke_with_made(ADA, program.identity))


async def test_what_is_made_in_a_circle_ends_once(management: Management) -> None:
    """A rotates B and B rotates A: all of them, and the search for more has an end."""
    one, other = await make(management, "one"), await make(management, "other")
    first = (await management.rotate_token(by(one), other.identity, 3600)).view
    second = (await management.rotate_token(by(first), one.identity, 3600)).view
    third = await make(management, "third", second)
    revoked = await management.revoke_with_made(ADA, one.identity)
    assert {one.identity, first.identity, second.identity, third.identity} == set(revoked)


async def test_a_token_that_is_not_there_is_no_leak(management: Management) -> None:
    """NotFound, and nothing is revoked."""
    with pytest.raises(NotFound):
        await management.revoke_with_made(ADA, "0" * 24)
    with pytest.raises(NotFound):
        await management.list_made("0" * 24)


async def test_a_token_that_was_revoked_makes_nothing(management: Management) -> None:
    """Also where its call was let in before: what it made ends at once, and its name is free."""
    leaked = await make(management, "leaked", policy="unique")
    await management.revoke_token(ADA, leaked.identity)
    for deed in (
        management.create_token(by(leaked), "unique", TokenRequest(name="late", project="website")),
        management.rotate_token(by(leaked), (await make(management, "another")).identity, 3600),
    ):
        with pytest.raises(TokenEnded, match="makes nothing any more"):
            await deed
    made = await management.list_made(leaked.identity)
    assert [TokenState.REVOKED] * 2 == [view.state for view in made]
    await make(management, "late", policy="unique")


@pytest.mark.parametrize("turn", range(1, 12))
async def test_what_is_made_while_its_maker_ends_is_not_forgotten(redis_url: str, turn: int) -> None:
    """Between whichever two calls of Redis the revocation comes: no token is left that works."""
    async with open_connection(redis_url) as connection, open_connection(redis_url) as other:
        management, operator = build(connection), build(other)
        leaked = await make(management, "leaked")
        calls = itertools.count(1)
        is_ended = False

        def interrupted(call: Callable[..., Any]) -> Callable[..., Any]:
            async def run(*arguments: Any) -> Any:
                nonlocal is_ended
                if next(calls) == turn:
                    is_ended = bool(await operator.revoke_with_made(ADA, leaked.identity))
                return await call(*arguments)

            return run

        connection.run = interrupted(connection.run)  # type: ignore[method-assign]
        connection.run_script = interrupted(connection.run_script)  # type: ignore[method-assign]
        with suppress(ChangeRefused):
            await make(management, "made", leaked)
        if not is_ended:
            await operator.revoke_with_made(ADA, leaked.identity)
        listed = await operator.list_tokens("small")
        assert [] == [view.record.name for view in listed if view.state is TokenState.ACTIVE]


async def test_what_an_operator_disabled_no_token_enables(management: Management) -> None:
    """By whatever door a token asks; an operator does, and then it is nobody's lock any more."""
    maker, token = await make(management, "maker"), await make(management, "token")
    on, off = TokenChange(is_active=True), TokenChange(is_active=False)
    await management.update_token(ADA, token.identity, off)
    for change in (on, off, on):
        try:
            await management.update_token(by(maker), token.identity, change)
        except ChangeRefused as refused:
            assert "only an operator can enable it" in str(refused)
    assert [TokenState.DISABLED] == await states(management, [token])
    await management.update_token(ADA, token.identity, on)
    await management.update_token(by(maker), token.identity, off)
    assert maker.identity == (await management.get_token(token.identity)).record.disabled_by
    await management.update_token(by(maker), token.identity, on)
    assert [TokenState.ACTIVE] == await states(management, [token])
    await management.update_token(by(maker), token.identity, off)
    await management.update_token(ADA, token.identity, off)
    with pytest.raises(ChangeRefused):
        await management.update_token(by(maker), token.identity, on)
