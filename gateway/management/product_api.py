"""Tokens under a product's own paths: rules with `manage`, answered instead of the backend.

The request is authorized like any other (pipeline/exchange.py). core/tokens/product_api.py decides what its token may
do with others.
"""

from collections.abc import AsyncIterator

from gateway.core.admission.decision import Authorized, effective_scopes
from gateway.core.errors import ChangeRefused, NotFound
from gateway.core.http.messages import RequestHead, Response
from gateway.core.http.targets import parse_path
from gateway.core.policies.model import Operation
from gateway.core.tokens.audit import Action, Actor
from gateway.core.tokens.product_api import (
    MAXIMUM_CONTENT_BYTES,
    build_answer,
    build_change,
    build_child_request,
    build_request,
    build_token,
    may_manage,
    parse_token_fields,
    refuse,
    refuse_child,
)
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.views import TokenView
from gateway.management.management import Management

ACTIONS: dict[Operation, Action] = {
    "create": Action.CREATE,
    "child": Action.CREATE,
    "update": Action.UPDATE,
    "delete": Action.REVOKE,
}
MAXIMUM_DIGITS = 15
"""The most digits of a token's number."""


class ProductApi:
    """How a product's own API for tokens speaks: see the module."""

    def __init__(self, management: Management) -> None:
        self._management = management

    async def handle(
        self, request: RequestHead, content: AsyncIterator[bytes] | None, admission: Authorized
    ) -> Response:
        """Return the answer to an authorized request under a rule with `manage`. Raise StoreUnavailable."""
        rule, record = admission.rule, admission.facts.record
        if record is None or rule.manage is None:
            raise ValueError("the rule manages no tokens")
        segments = parse_path(request.path) or ()
        named = "" if rule.token_segment is None else segments[rule.token_segment]
        call = _Call(self._management, request, admission, record, rule.project_of(segments) or record.project)
        action = ACTIONS.get(rule.manage)
        try:
            if action is None:
                return await (call.list() if rule.manage == "list" else call.show(named))
            async with self._management.refusals(call.actor, action, rule.policy.name):
                return await call.change(rule.manage, named, await _read(content))
        except ChangeRefused as refused:
            refused.args = (self._management.mask(str(refused)),)
            return refuse(rule.policy, refused, request.id)


class _Call:
    """One request, with the token that asks and the project."""

    def __init__(
        self, management: Management, request: RequestHead, admission: Authorized, asker: TokenRecord, project: str
    ) -> None:
        self._management = management
        self._policy = admission.rule.policy
        self._mapping = self._policy.management
        self._held = effective_scopes(admission.rule, admission.facts)
        self._asker = asker
        self._project = project
        self.actor = Actor(asker.name, "token", asker.identity, request.client)

    async def list(self) -> Response:
        """Return all tokens within reach, the newest first."""
        by_project = self._policy.bound_to == "project"
        bound_to = {"project": self._project} if by_project else {"owner": self._asker.owner}
        views = await self._management.list_tokens(self._policy.name, **bound_to)
        seen = [view for view in views if may_manage(self._policy, self._asker, self._project, view)]
        return build_answer(200, [build_token(self._mapping, view) for view in seen])

    async def show(self, named: str) -> Response:
        """Return one of them."""
        return build_answer(200, build_token(self._mapping, await self._find(named)))

    async def change(self, operation: Operation, named: str, content: bytes) -> Response:
        """Change one of them, or create a token and return it with its text."""
        if operation in ("create", "child"):
            fields = parse_token_fields(self._mapping, content)
            if operation == "child":
                request = build_child_request(self._policy, fields)
                created = await self._management.create_child(self.actor, self._asker.identity, request)
            else:
                request = build_request(self._policy, self._asker, self._held, self._project, fields)
                created = await self._management.create_token(self.actor, self._policy.name, request)
            return build_answer(201, build_token(self._mapping, created.view, created.text))
        refuse_child(self._asker)
        view = await self._find(named)
        if operation == "delete":
            await self._management.revoke_token(self.actor, view.identity)
            return build_answer(204, None)
        fields = parse_token_fields(self._mapping, content)
        change = build_change(self._policy, self._asker, self._held, view.record, fields)
        changed = await self._management.update_token(self.actor, view.identity, change)
        return build_answer(200, build_token(self._mapping, changed))

    async def _find(self, named: str) -> TokenView:
        """Return the token of an id in the product's form. Raise NotFound, also if it is another project's."""
        view = None
        if not self._policy.has_numbers:
            view = await self._management.show_token(named)
        elif named.isdecimal() and named.isascii() and len(named) <= MAXIMUM_DIGITS:
            view = await self._management.show_number(self._policy.name, int(named))
        if view is None or not may_manage(self._policy, self._asker, self._project, view):
            raise NotFound("there is no such token")
        return view


async def _read(content: AsyncIterator[bytes] | None) -> bytes:
    """Return the whole content of a call. Raise ChangeRefused if it is too long."""
    pieces = bytearray()
    if content is None:
        return b""
    async for piece in content:
        pieces += piece
        if len(pieces) > MAXIMUM_CONTENT_BYTES:
            raise ChangeRefused(f"the content has more than {MAXIMUM_CONTENT_BYTES} bytes")
    return bytes(pieces)
