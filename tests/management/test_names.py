"""Unique names and numbers, in a real Redis."""

import asyncio

import pytest
from msgspec.structs import replace

from gateway.core.errors import ChangeRefused, NameTaken
from gateway.core.policies.model import Policy, PolicySet
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenChange, TokenRequest
from gateway.core.tokens.views import CreatedToken
from gateway.management import Management

pytestmark = pytest.mark.redis

ADA = Actor("ada", "operator")


def ask(name: str, project: str = "website", **others: object) -> TokenRequest:
    return TokenRequest(name=name, project=project, **others)  # type: ignore[arg-type]  # the request's own


async def test_of_many_who_want_a_name_at_once_one_gets_it(management: Management) -> None:
    """Exactly one creation wins, the others are told why; another project may have the same name."""
    attempts = [management.create_token(ADA, "unique", ask("CI")) for _ in range(25)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert 1 == sum(isinstance(outcome, CreatedToken) for outcome in outcomes)
    assert 24 == sum(isinstance(outcome, NameTaken) for outcome in outcomes)
    assert ["CI"] == [view.record.name for view in await management.list_tokens("unique", "website")]
    await management.create_token(ADA, "unique", ask("CI", "another"))


async def test_a_name_is_free_again_when_its_token_is_revoked_or_renamed(management: Management) -> None:
    """At once; a disabled token keeps its name."""
    first = (await management.create_token(ADA, "unique", ask("CI"))).view.identity
    await management.update_token(ADA, first, TokenChange(is_active=False))
    with pytest.raises(NameTaken, match="another token of the same project is named 'CI'"):
        await management.create_token(ADA, "unique", ask("CI"))
    await management.update_token(ADA, first, TokenChange(name="Nightly"))
    second = (await management.create_token(ADA, "unique", ask("CI"))).view.identity
    with pytest.raises(NameTaken):
        await management.update_token(ADA, first, TokenChange(name="CI"))
    await management.revoke_token(ADA, second)
    assert "CI" == (await management.update_token(ADA, first, TokenChange(name="CI"))).record.name
    await management.update_token(ADA, first, TokenChange(name="Nightly"))
    await management.update_token(ADA, first, TokenChange(name="CI"))


async def test_a_refused_creation_takes_no_name(management: Management) -> None:
    """Who is refused for another reason leaves the name to the next."""
    with pytest.raises(ChangeRefused, match="unknown scope"):
        await management.create_token(ADA, "unique", ask("CI", scopes=("raed",)))
    await management.create_token(ADA, "unique", ask("CI"))


async def test_a_rotated_token_keeps_its_name_to_its_lineage(management: Management) -> None:
    """The successor has it too and can change it; nobody else gets it while either is there."""
    first = (await management.create_token(ADA, "unique", ask("CI"))).view.identity
    second = (await management.rotate_token(ADA, first, 60)).view.identity
    await management.revoke_token(ADA, first)
    with pytest.raises(NameTaken):
        await management.create_token(ADA, "unique", ask("CI"))
    await management.update_token(ADA, second, TokenChange(name="Nightly"))
    await management.update_token(ADA, second, TokenChange(name="CI"))
    await management.revoke_token(ADA, second)
    await management.create_token(ADA, "unique", ask("CI"))


async def test_names_given_before_they_had_to_be_unique_count(management: Management) -> None:
    """When a policy begins to want unique names, those there are are taken."""
    policies = management._policies.current.policies
    object.__setattr__(management, "_policies", _Renamed(policies["small"]))
    await management.create_token(ADA, "unique", ask("old"))
    object.__setattr__(management, "_policies", _Renamed(policies["unique"]))
    await management.create_token(ADA, "unique", ask("new"))
    with pytest.raises(NameTaken):
        await management.create_token(ADA, "unique", ask("old"))


async def test_numbers_are_given_once(management: Management) -> None:
    """Counted from one by policy, each to one token, also at once and by rotation; a token is found by its number."""
    created = await asyncio.gather(*(management.create_token(ADA, "unique", ask(f"n{number}")) for number in range(10)))
    assert set(range(1, 11)) == {one.view.number for one in created}
    for one in created:
        assert one.view == await management.show_number("unique", one.view.number)
    assert 11 == (await management.rotate_token(ADA, created[0].view.identity, 0)).view.number
    assert None is await management.show_number("unique", 99)
    assert None is await management.show_number("small", 1)
    assert 0 == (await management.create_token(ADA, "small", ask("CI"))).view.number


class _Renamed:
    """A policy under the name `unique`."""

    def __init__(self, policy: Policy) -> None:
        self.current = PolicySet({"unique": replace(policy, name="unique")}, {})
