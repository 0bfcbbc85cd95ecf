"""Lists of tokens as they are now, from a real Redis."""

import pytest

from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest, TokenState
from gateway.management import Management
from gateway.management import management as management_module

pytestmark = pytest.mark.redis

ADA = Actor("ada", "operator")


async def test_a_list_is_the_same_in_pieces(management: Management, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children know of their parents, whichever piece those are in."""
    for number in range(4):
        wanted = TokenRequest(name=f"p{number}", project="website", scopes=("read",))
        parent = (await management.create_token(ADA, "small", wanted)).view.identity
        await management.create_child(ADA, parent, TokenRequest(name=f"c{number}"))
        if number % 2:
            await management.revoke_token(ADA, parent)
    whole = await management.list_tokens("small")
    monkeypatch.setattr(management_module, "AT_ONCE", 3)
    assert whole == await management.list_tokens("small")
    assert 8 == len(whole)
    assert {"p1", "c1", "p3", "c3"} == {view.record.name for view in whole if view.state is TokenState.REVOKED}
    for view in whole:
        assert view.version == (await management.get_token(view.identity)).version
