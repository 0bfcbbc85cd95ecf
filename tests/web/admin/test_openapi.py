"""The OpenAPI document, held to what the API does by schemathesis: generated calls, good and bad, on a real Redis."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks
from schemathesis.core.result import Ok

from tests.web.admin.conftest import Mint, build_app, create

pytestmark = pytest.mark.redis

EXCLUDED = [checks.positive_data_acceptance, checks.max_response_time]
"""A schema cannot say which policies and scopes there are, so calls of the right shape may be refused."""

BOUNDED = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_what_is_documented_is_what_happens(redis_url: str, mint_admin: Mint, mode: GenerationMode) -> None:
    """No generated call meets a mistake of ours, a status, a type or a shape that the document does not have."""
    headers = {"Authorization": f"Bearer {mint_admin()['token']}"}
    app = build_app(redis_url, failed_credentials="1000000/minute")
    loaded = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    operations = [found.ok() for found in loaded.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) >= 17
    for operation in operations:

        @BOUNDED
        @given(case=operation.as_strategy(generation_mode=mode))
        def call(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers=headers, excluded_checks=EXCLUDED)

        call()


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
