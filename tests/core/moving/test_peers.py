"""Exports of other gateways, as their documentation shows them."""

from typing import Any

import pytest

from gateway.core.moving.peers import MAPS, read_entries
from gateway.core.moving.rows import COLUMNS, parse_row

EXPORTS: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "kong": (
        {
            "data": [
                {"id": "4f", "key": "k1", "ttl": None, "consumer": {"id": "a1"}, "tags": None, "created_at": 1},
                {"id": "50", "key": "k2", "consumer": {"id": "a2", "username": "web", "custom_id": "42"}},
            ],
            "next": None,
        },
        [{"text": "k1", "name": "a1", "owner": "a1"}, {"text": "k2", "name": "web", "owner": "42"}],
    ),
    "tyk": (
        [
            {"key": "k1", "alias": "web", "org_id": "53ac", "expires": 1830297600, "is_inactive": False, "rate": 100},
            {"key_hash": "ab" * 32, "alias": "", "org_id": "53ac", "expires": 0, "is_inactive": True},
        ],
        [
            {"text": "k1", "name": "web", "owner": "53ac", "expires_at": 1830297600, "is_active": True},
            {"digest": "ab" * 32, "name": "ab" * 32, "owner": "53ac", "expires_at": None, "is_active": False},
        ],
    ),
    "apisix": (
        {
            "list": [
                {
                    "key": "/apisix/consumers/jack",
                    "value": {"username": "jack", "desc": "d", "plugins": {"key-auth": {"key": "auth-one"}}},
                }
            ],
            "total": 1,
        },
        [{"text": "auth-one", "name": "jack", "owner": "jack", "description": "d"}],
    ),
    "unkey": (
        {
            "meta": {"requestId": "r"},
            "data": [
                {
                    "keyId": "key_1",
                    "start": "sk_1",
                    "name": "web",
                    "enabled": True,
                    "permissions": ["read"],
                    "identity": {"id": "i", "externalId": "acct_1"},
                    "expires": 1830297600000,
                    "plaintext": "sk_123",
                },
                {"keyId": "key_2", "start": "sk_2", "enabled": False, "expires": None},
            ],
        },
        [
            {
                "text": "sk_123",
                "name": "web",
                "owner": "acct_1",
                "scopes": ["read"],
                "expires_at": 1830297600,
                "is_active": True,
            },
            {"name": "key_2", "is_active": False},
        ],
    ),
}


@pytest.mark.parametrize("form", MAPS)
def test_entries_are_read_by_the_map(form: str) -> None:
    """What the map names, in our columns; what is absent is left to the defaults."""
    document, expected = EXPORTS[form]
    rows = list(read_entries(document, form))
    assert expected == rows
    assert {name for row in rows for name in row} <= {*COLUMNS}
    assert expected[0]["text"] not in repr(parse_row(1, rows[0], {"name": "x"}))


@pytest.mark.parametrize("form", MAPS)
@pytest.mark.parametrize("document", [None, 5, {}, {"data": {}}, "text"])
def test_another_document_is_refused(form: str, document: Any) -> None:
    """With what it should be."""
    with pytest.raises(ValueError, match="there is no list of tokens; it should be"):
        list(read_entries(document, form))


@pytest.mark.parametrize("form", MAPS)
def test_entries_of_any_shape_are_rows(form: str) -> None:
    """What is in them is a row's business."""
    assert [{}] * 3 == list(read_entries([None, 5, {}] if form != "kong" else {"data": [None, 5, {}]}, form))
