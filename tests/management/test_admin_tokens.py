"""Tokens of the management API, in a real Redis."""

import pytest

from gateway.core.errors import ChangeRefused
from gateway.core.tokens.admin_tokens import is_admin
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest
from gateway.management import Management

pytestmark = pytest.mark.redis

ADA = Actor("ada", "operator")


async def test_an_admin_token_is_known_by_its_text_and_listed_apart(management: Management) -> None:
    """It begins with gwa_, holds what it was given, and is no token of a policy."""
    admin = await management.create_token(ADA, "", TokenRequest(name="ops", scopes=("read",)))
    other = await management.create_token(ADA, "small", TokenRequest(name="CI", project="website"))
    assert admin.text.startswith("gwa_")
    found = await management.find_presented(admin.text)
    assert admin.view == found
    assert is_admin(admin.view.record)
    assert "read" == admin.view.record.scopes
    assert [admin.view] == await management.list_tokens("")
    assert [other.view] == await management.list_tokens("small")
    assert not is_admin(other.view.record)
    assert other.view == await management.find_presented(other.text)


async def test_a_text_of_no_token_is_nobodys(management: Management) -> None:
    """Unknown, empty, endless or not ASCII: there is no token, and no error."""
    for text in ("gwa_" + "x" * 40, "", "x" * 10_000, "gwä_", "\x00"):
        assert None is await management.find_presented(text)


async def test_an_admin_token_has_scopes_of_its_own(management: Management) -> None:
    """Without any it holds all; a policy's scope is none of them."""
    admin = await management.create_token(ADA, "", TokenRequest(name="ops"))
    assert "introspect read write" == admin.view.record.scopes
    with pytest.raises(ChangeRefused, match="unknown scope"):
        await management.create_token(ADA, "", TokenRequest(name="ops", scopes=("exports:read",)))
