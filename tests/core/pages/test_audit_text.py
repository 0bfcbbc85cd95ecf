"""The history in words."""

import pytest

from gateway.core.pages.formatting import describe_action, describe_changes
from gateway.core.tokens.audit import Action, Actor, AuditEntry

ACTOR = Actor("ops", "operator")


@pytest.mark.parametrize("action", list(Action))
def test_every_action_has_words(action: Action) -> None:
    """Done, and refused."""
    assert describe_action(AuditEntry(actor=ACTOR, action=action))
    assert "refused" in describe_action(AuditEntry(actor=ACTOR, action=action, outcome="ended"))


def test_a_switch_is_told_by_what_it_does() -> None:
    """Disabled and enabled, rather than a field that changed."""
    for after, word in ((False, "disabled"), (True, "enabled")):
        entry = AuditEntry(actor=ACTOR, action=Action.UPDATE, changes={"is_active": (not after, after)})
        assert word == describe_action(entry)
        assert [] == list(describe_changes(entry))


def test_times_are_told_as_moments() -> None:
    """And no end as never."""
    entry = AuditEntry(actor=ACTOR, action=Action.UPDATE, changes={"expires_at": (None, 1_800_000_000)})
    assert [("expires", "never", "15 January 2027, 08:00:00 UTC")] == list(describe_changes(entry))


def test_a_purge_is_told_with_what_was_named_and_how_much_ended() -> None:
    """Of which policy, too: it is about no token."""
    changes = {"everything": (None, True), "ended": (None, 3)}
    entry = AuditEntry(actor=ACTOR, action=Action.PURGE, policy="shop", changes=changes)
    assert "purged stored exports of shop" == describe_action(entry)
    assert [("everything", "", "yes"), ("ended", "", "3")] == list(describe_changes(entry))
