"""What other gateways export, as rows: field maps of Kong, Tyk, APISIX and Unkey.

A map names where the list is in the document and, for each of our columns, where the value is in an entry. If several
places are named, the first that has a value counts. What no map names is left behind.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

Path = tuple[str, ...]


class FieldMap(msgspec.Struct, frozen=True):
    """How the entries of one product's export are read."""

    source: str
    """What makes the document, for people."""
    lists: tuple[Path, ...]
    """Where the list may be; () is the document itself."""
    columns: Mapping[str, tuple[Path, ...]]
    milliseconds: bool = False
    """Whether times are in milliseconds."""


MAPS: Mapping[str, FieldMap] = {
    "kong": FieldMap(
        source="GET /key-auths of the Admin API",
        lists=(("data",), ()),
        columns={
            "text": (("key",),),
            "name": (("consumer", "username"), ("consumer", "custom_id"), ("consumer", "id"), ("id",)),
            "owner": (("consumer", "custom_id"), ("consumer", "username"), ("consumer", "id")),
        },
    ),
    "tyk": FieldMap(
        source="the session objects of GET /tyk/keys/{key}, in a list, each with its `key` or `key_hash`",
        lists=((), ("keys",)),
        columns={
            "text": (("key",),),
            "digest": (("key_hash",),),
            "name": (("alias",), ("data", "alias"), ("meta_data", "name"), ("key_hash",)),
            "owner": (("org_id",), ("data", "org_id")),
            "expires_at": (("expires",), ("data", "expires")),
            "is_inactive": (("is_inactive",), ("data", "is_inactive")),
        },
    ),
    "apisix": FieldMap(
        source="GET /apisix/admin/consumers",
        lists=(("list",), ()),
        columns={
            "text": (("value", "plugins", "key-auth", "key"), ("plugins", "key-auth", "key")),
            "name": (("value", "username"), ("username",)),
            "owner": (("value", "username"), ("username",)),
            "description": (("value", "desc"), ("desc",)),
        },
    ),
    "unkey": FieldMap(
        source="apis.listKeys with `decrypt: true`",
        lists=(("data",), ("keys",), ()),
        columns={
            "text": (("plaintext",),),
            "name": (("name",), ("keyId",), ("id",)),
            "owner": (("identity", "externalId"), ("externalId",), ("ownerId",)),
            "scopes": (("permissions",),),
            "expires_at": (("expires",),),
            "is_active": (("enabled",),),
        },
        milliseconds=True,
    ),
}


def read_entries(document: Any, form: str) -> Iterator[Mapping[str, Any]]:
    """Yield the values of each entry of a product's export. Raise ValueError if the document has no list."""
    field_map = MAPS[form]
    entries = next((found for path in field_map.lists if isinstance(found := find_value(document, path), list)), None)
    if entries is None:
        raise ValueError(f"there is no list of tokens; it should be {field_map.source}")
    for entry in entries:
        found = {name: find_first(entry, paths) for name, paths in field_map.columns.items()}
        yield _convert({name: value for name, value in found.items() if value not in (None, "")}, field_map)


def find_value(document: Any, path: Path) -> Any:
    """Return what is at a path of members, or None."""
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def find_first(document: Any, paths: tuple[Path, ...]) -> Any:
    """Return the value of the first path that has one, or None."""
    return next((value for path in paths if (value := find_value(document, path)) not in (None, "")), None)


def _convert(values: dict[str, Any], field_map: FieldMap) -> dict[str, Any]:
    """Return the values as columns: seconds, and is_active; a time that is not positive means never (Tyk)."""
    expires = values.get("expires_at")
    if isinstance(expires, int | float):
        seconds = expires // 1000 if field_map.milliseconds else expires
        values["expires_at"] = seconds if seconds > 0 else None
    if "is_inactive" in values:
        values["is_active"] = not values.pop("is_inactive")
    if "text" in values:
        values.pop("digest", None)
    return values
