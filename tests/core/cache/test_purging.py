"""What is named to be purged, and what the history says of it."""

from typing import Any

import pytest

from gateway.core.cache.invalidation import Purge, about_purge, find_groups
from gateway.core.errors import ChangeRefused
from gateway.core.tokens.audit import Action, Actor

ADA = Actor("ada", "operator")
IDENTITY = "7f" + "0" * 22


@pytest.mark.parametrize(
    ("purge", "group", "told"),
    [
        (Purge(url="http://App.example/e?lang=de"), "uri:app.example/e?lang=de", ("", "", "")),
        (Purge(group="set-1"), "group:set-1", ("", "", "")),
        (Purge(project="website"), "project:website", ("", "website", "")),
        (Purge(owner="acme"), "owner:acme", ("", "", "acme")),
        (Purge(token=IDENTITY), f"token:{IDENTITY}", (IDENTITY, "", "")),
        (Purge(everything=True), "all", ("", "", "")),
    ],
)
def test_what_is_named_is_one_group_and_is_told(purge: Purge, group: str, told: Any) -> None:
    """A history has it under its own name, and under the token, project or owner that it is about."""
    assert [group] == find_groups(purge)
    entry = about_purge(ADA, "shop", purge)
    token, project, owner = told
    assert ADA == entry.actor
    assert Action.PURGE == entry.action
    assert "shop" == entry.policy
    assert token == entry.target
    assert project == entry.project
    assert owner == entry.owner
    (what, (before, named)), ended = entry.changes.items()
    assert None is before
    assert getattr(purge, what) == named
    assert ("ended", (None, 0)) == ended


@pytest.mark.parametrize(
    "purge", [Purge(), Purge(group="a", everything=True), Purge(url="/e"), Purge(url="http://[/"), Purge(url="http://")]
)
def test_what_is_unclear_is_refused(purge: Purge) -> None:
    """None, several, or a URL of nothing."""
    with pytest.raises(ChangeRefused):
        find_groups(purge)


def test_a_tokens_text_in_the_place_of_its_id_is_not_kept() -> None:
    """The history has nothing secret."""
    assert "shop_S3cret" not in repr(about_purge(ADA, "shop", Purge(token="shop_S3cret")))
