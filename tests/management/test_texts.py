"""No text that holds a token becomes a name, and no message repeats one."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.core.errors import ChangeRefused, NotFound
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenChange, TokenRequest
from gateway.core.tokens.lifecycle import ByText
from gateway.core.tokens.overrides import OverrideRequest
from gateway.core.tokens.owners import OwnerChange
from gateway.core.tokens.text import build_checksum
from gateway.management import Management
from tests.management.conftest import build

pytestmark = pytest.mark.redis

ADA = Actor("ada", "operator")
BODY = "0123456789abcdefghijABCDEFGHIJ0123"
OWN = f"sml_{BODY}{build_checksum('sml_' + BODY)}"
OTHERS = f"unq_{BODY}{build_checksum('unq_' + BODY)}"
"""A token of another policy than the one that is asked."""
GONE = f"old_{BODY}{build_checksum('old_' + BODY)}"
"""A token of a policy that is no longer there."""
ADMIN = f"gwa_{BODY}{build_checksum('gwa_' + BODY)}"
HELD = [OWN, OTHERS, GONE, ADMIN, f"key={OWN}", f"{OWN[:-1]}-", OWN.lower()]

Change = Callable[[Management, str, str], Awaitable[object]]


@pytest.fixture
async def management(redis_url: str) -> AsyncIterator[Management]:
    """Management over an empty Redis."""
    connection = RedisConnection(open_client(redis_url, 10), 10)
    yield build(connection)
    await connection.close()


def ask(name: str = "CI", project: str = "website", **others: object) -> TokenRequest:
    return TokenRequest(name=name, project=project, **others)  # type: ignore[arg-type]  # the request's own


def override(text: str) -> OverrideRequest:
    return OverrideRequest(limit="60/minute", burst=None, until=4_000_000_000, reason=text, author="ada")


CHANGES: dict[str, Change] = {
    "name": lambda management, _, text: management.create_token(ADA, "small", ask(text)),
    "description": lambda management, _, text: management.create_token(ADA, "small", ask(description=f"of\n{text}")),
    "project": lambda management, _, text: management.create_token(ADA, "small", ask(project=text)),
    "owner": lambda management, _, text: management.create_token(ADA, "small", ask(owner=text)),
    "scope": lambda management, _, text: management.create_token(ADA, "small", ask(scopes=(text,))),
    "import": lambda management, _, text: management.import_token(ADA, "small", ask(text), ByText(OWN)),
    "renaming": lambda management, token, text: management.update_token(ADA, token, TokenChange(name=text)),
    "override": lambda management, token, text: management.override_quota(ADA, token, "minute", override(text)),
    "owner's name": lambda management, _, text: management.change_owner(ADA, "small", text, OwnerChange()),
    "owner's project": lambda management, _, text: management.change_owner(
        ADA, "small", "acme", OwnerChange(permissions={text: ("read",)})
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_text_that_holds_a_token_is_refused(
    management: Management, dump: Callable[[], str], change: Change
) -> None:
    """Of whatever policy it is; neither the message nor Redis has it afterwards, the history included."""
    token = (await management.create_token(ADA, "small", ask("first", plan="pro"))).view.identity
    for text in HELD:
        with pytest.raises(ChangeRefused) as refused:
            await change(management, token, text)
        assert BODY.lower() not in str(refused.value).lower()
    assert BODY.lower() not in dump().lower()


@pytest.mark.parametrize("text", HELD)
async def test_what_is_not_there_is_not_repeated(management: Management, text: str) -> None:
    """A token given in the place of its id, or of a policy's name, stays out of the message."""
    for question in (management.get_token(text), management.revoke_token(ADA, text), management.list_projects(text)):
        with pytest.raises(NotFound) as refused:
            await question
        assert BODY.lower() not in str(refused.value).lower()


async def test_names_with_the_prefix_of_a_token_are_names(management: Management) -> None:
    """Only what is as long as a token is one."""
    view = (await management.create_token(ADA, "small", ask("sml_nightly-build-of-main"))).view
    assert "sml_nightly-build-of-main" == view.record.name
