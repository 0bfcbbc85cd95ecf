"""The OpenAPI document; system/test_openapi.py holds the API to it."""

import httpx
import pytest

from tests.admin.conftest import create

pytestmark = pytest.mark.redis


def test_every_refusal_is_documented(api: httpx.Client) -> None:
    """Each operation names 400, 429 and 503, and 401 and 403 where it takes an admin token; all are problem details."""
    document = api.get("/api/openapi.json").json()
    assert "3.1.0" == document["openapi"]
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if isinstance(operation, dict)
    ]
    assert len(operations) >= 17
    for path, method, operation in operations:
        needed = {"400", "429", "503"} | ({"401", "403"} if not path.endswith("/revoke") else set())
        assert needed <= operation["responses"].keys(), (path, method)
        assert operation["summary"]
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert ["application/problem+json"] == list(answer["content"])


def test_a_created_token_is_as_documented(api: httpx.Client) -> None:
    """The document has every field of a token, and its text only where it is given."""
    schemas = api.get("/api/openapi.json").json()["components"]["schemas"]
    shown = next(schema for name, schema in schemas.items() if name.endswith("ShownToken"))
    assert create(api).keys() <= shown["properties"].keys()


def test_what_a_call_takes_is_documented_in_full(api: httpx.Client) -> None:
    """Unknown fields are refused, lists and maps say what they hold, and what excludes each other says so."""
    schemas = api.get("/api/openapi.json").json()["components"]["schemas"]
    taken = {name.rpartition("_")[2]: schema for name, schema in schemas.items() if "asked" in name or name in schemas}
    for name in ("NewToken", "TokenPatch", "NewRotation", "NewRevocation", "OwnerPatch", "NewPurge", "NewChild"):
        assert False is taken[name]["additionalProperties"], name
    scope = {"type": "string", "minLength": 1, "maxLength": 128}
    assert scope == taken["NewToken"]["properties"]["scopes"]["items"]
    assert 128 == taken["OwnerPatch"]["properties"]["permissions"]["propertyNames"]["maxLength"]
    assert "integer" == taken["NewRotation"]["properties"]["overlap_seconds"]["type"]
    assert ["url", "group", "project", "owner", "token", "everything"] == [
        one["required"][0] for one in taken["NewPurge"]["oneOf"]
    ]
