"""How an app's OpenAPI document tells of tokens: the schemes of the policy, and which handlers ask for them."""

from typing import Any

from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme

from gateway.core.policies.rules import CredentialSource, Policy
from gateway.web.plugin.guards import Needs

REFUSALS = {
    401: "There is no token, or it is not valid.",
    403: "The token lacks a scope, or its plan does.",
    429: "A quota is used up; Retry-After says when to come back.",
}


def describe_credentials(config: OpenAPIConfig, policy: Policy) -> None:
    """Adds a security scheme for each way to present a token."""
    schemes = {_name(source): _build_scheme(source, policy) for source in policy.credentials}
    components = config.components if isinstance(config.components, list) else [config.components]
    config.components = [*components, Components(security_schemes={**schemes})]


def describe_guard(handler: HTTPRouteHandler, policy: Policy, needs: Needs) -> None:
    """Says of a guarded handler which scopes it needs, and how requests are refused."""
    ways: list[dict[str, list[str]]] = [{_name(source): list(needs.scopes)} for source in policy.credentials]
    if needs.is_optional:
        ways.append({})  # OpenAPI 3.1: an empty requirement makes security optional
    handler.security = [*(handler.security or ()), *ways]
    refusals: dict[int, ResponseSpec] = {
        status: ResponseSpec(
            data_container=dict[str, Any],
            generate_examples=False,
            description=description,
            media_type="application/json" if str(status) in policy.errors else "application/problem+json",
        )
        for status, description in REFUSALS.items()
    }
    handler.responses = {**refusals, **(handler.responses or {})}


def _name(source: CredentialSource) -> str:
    return "gateway-bearer" if source.is_bearer else f"gateway-{source.field.decode()}"


def _build_scheme(source: CredentialSource, policy: Policy) -> SecurityScheme:
    description = f"A token of {policy.name}, which begins with {policy.token_format.prefixes[0]}"
    if source.is_bearer:
        return SecurityScheme(type="http", scheme="bearer", description=description)
    return SecurityScheme(
        type="apiKey", name=source.field.decode(), security_scheme_in="header", description=description
    )
