"""Lists of tokens, and new tokens."""

from urllib.parse import urlencode

import msgspec
from litestar import Controller, get, post
from litestar.exceptions import ClientException, NotFoundException, PermissionDeniedException
from litestar.response import Redirect, Template

from gateway.admin.access import READING, WRITING
from gateway.core.errors import ChangeRefused
from gateway.core.pages.export_urls import build_snippets, variable_name
from gateway.core.pages.permissions import AccessScope, as_given, excess_grants, grantable, why_none
from gateway.core.pages.token_list import STATES, Listing, parse_listing, select
from gateway.core.policies.model import Policy
from gateway.core.tokens.admin_tokens import is_admin
from gateway.core.tokens.changes import TokenRequest
from gateway.core.tokens.owners import OwnerChange
from gateway.core.tokens.views import CreatedToken
from gateway.pages.common import Asking, GivenForm, GivenPages, GivenVisitor, Pages, find_example, see_other, text_of
from gateway.pages.forms import (
    FormMistake,
    TokenForm,
    build_request,
    choose_offered,
    mask_form,
    offer_expiries,
    read_token_form,
)
from gateway.pages.sessions import Visitor

LISTED_DAYS = 14
"""Days of usage beside each token: enough to see a weekend, and a job that has stopped."""
SENT_TWICE = (
    "This form was sent before, and the token that it asked for was made: look for it in the list. "
    "Its text is not shown again. Send the form once more for another token."
)


class TokenLists(Controller):
    """`/tokens`."""

    path = "/tokens"

    @get(opt=READING)
    async def show(self, request: Asking, pages: GivenPages, visitor: GivenVisitor) -> Template:
        """Show the tokens of a project or an owner; to an operator all of a policy, or of all policies."""
        query = request.query_params
        access = find_access(pages, visitor, query.get("policy"), query.get("project"), query.get("owner"))
        listing = parse_listing(*(query.get(name, "") for name in ("q", "state", "sort", "page")))
        page = select(await pages.management.list_tokens(access.policy, access.project, access.owner), listing)
        usage = await pages.usage.tokens_usage([view.identity for view in page.rows], LISTED_DAYS)
        return pages.render(
            "tokens.html",
            visitor,
            access=access,
            listing=listing,
            states=tuple(STATES),
            page=page,
            usage=usage,
            policies=visible_policies(pages, visitor),
            policy=pages.set.policies.get(access.policy or ""),
            owner=await pages.management.show_owner(access.policy or "", access.owner) if access.owner else None,
            address=ListAddress(access.policy or "", access.project or "", access.owner or "", listing),
        )

    @post("/plan", opt=WRITING, status_code=200)
    async def change_plan(self, pages: GivenPages, visitor: GivenVisitor, form: GivenForm) -> Redirect:
        """Give an owner's tokens another plan, from their next request on; only operators may."""
        if not visitor.is_operator:
            raise PermissionDeniedException("Only an operator changes the plan of an owner.")
        policy, owner = pages.policy(text_of(form, "policy")), text_of(form, "owner")
        try:
            await pages.management.change_owner(
                visitor.actor, policy.name, owner, OwnerChange(plan=text_of(form, "plan"))
            )
        except ChangeRefused as refusal:
            raise ClientException("The plan stays as it was.") from refusal
        return see_other("/tokens", policy=policy.name, owner=owner)

    @get("/new", opt=READING)
    async def ask(self, request: Asking, pages: GivenPages, visitor: GivenVisitor) -> Template:
        """Show the form for a new token; `bundle` ticks the scopes of one."""
        query = request.query_params
        policy, access = find_scope(pages, visitor, query.get("policy"), query.get("project"), query.get("owner"))
        bundle = policy.bundles.get(query.get("bundle", ""))
        form = TokenForm(
            name=query.get("name", ""),
            description=query.get("description", ""),
            expiry=query.get("expiry", ""),
            day=query.get("day", ""),
            project=access.project or "",
            owner=access.owner or "",
            scopes=bundle.scopes if bundle else (),
        )
        return await render_form(pages, visitor, policy, form)

    @post(opt=WRITING, status_code=200)
    async def create(self, pages: GivenPages, visitor: GivenVisitor, form: GivenForm) -> Template:
        """Create the token and show its text, this once."""
        asked = read_token_form(form)
        policy, access = find_scope(
            pages, visitor, str(form.get("policy", "")), asked.project or None, asked.owner or None
        )
        filled = msgspec.structs.replace(asked, project=access.project or "", owner=access.owner or "")
        try:
            request = _bounded(build_request(filled, policy, int(pages.clock()), visitor.latest), policy, visitor)
            await _check_first(pages, visitor, filled)
            created = await pages.management.create_token(visitor.actor, policy.name, request)
        except FormMistake as mistake:
            return await render_form(pages, visitor, policy, filled, mistake)
        except ChangeRefused as refusal:
            return await render_form(pages, visitor, policy, filled, FormMistake("", str(refusal)))
        return render_created(pages, visitor, policy, created)


def find_scope(
    pages: Pages, visitor: Visitor, policy: str | None, project: str | None, owner: str | None
) -> tuple[Policy, AccessScope]:
    """Return the policy that is asked for, else the first, and the part of the visitor's access, as `find_access`."""
    names = visible_policies(pages, visitor)
    if not names:
        raise NotFoundException("There are no policies.")
    access = find_access(pages, visitor, policy or names[0], project, owner)
    return pages.policy(access.policy or ""), access


def find_access(
    pages: Pages, visitor: Visitor, policy: str | None, project: str | None, owner: str | None
) -> AccessScope:
    """Return the part of the visitor's access that is asked for. Raise NotFoundException beyond it."""
    access = visitor.access.narrowed(policy or None, project or None, owner or None)
    if access is None or access.policy not in (None, *visible_policies(pages, visitor)):
        raise NotFoundException("There is nothing of yours at this address.")
    return access


def visible_policies(pages: Pages, visitor: Visitor) -> list[str]:
    """Return the names of the policies whose tokens the visitor may see."""
    return [name for name in sorted(pages.set.policies) if visitor.access.policy in (None, name)]


def group_scopes(policy: Policy) -> list[tuple[str, list[str]]]:
    """Return scopes by category, each in the policy's order, without those that no plan allows."""
    groups: dict[str, list[str]] = {}
    usable = policy.usable_scopes()
    for name, scope in policy.scopes.items():
        if name in usable:
            groups.setdefault(scope.category, []).append(name)
    return list(groups.items())


async def render_form(
    pages: Pages, visitor: Visitor, policy: Policy, form: TokenForm, mistake: FormMistake | None = None
) -> Template:
    """Show the form for a new token, with the mistake. Each time it is shown, it has a new key."""
    owner = await pages.management.show_owner(policy.name, form.owner) if form.owner else None
    expiries = offer_expiries(int(pages.clock()), visitor.latest)
    form = msgspec.structs.replace(choose_offered(form, expiries), key=pages.random_text())
    form = mask_form(form, pages.management.mask)
    return pages.render(
        "token_new.html",
        visitor,
        status=422 if mistake else 200,
        policy=policy,
        form=form,
        mistake=mistake,
        groups=group_scopes(policy),
        grantable=grantable(policy, visitor.giver, owner),
        expiries=expiries,
        bundles=policy.bundles,
        policies=visible_policies(pages, visitor),
    )


def render_created(pages: Pages, visitor: Visitor, policy: Policy, created: CreatedToken) -> Template:
    """Show a token's text, once."""
    snippets = (
        ()
        if is_admin(created.view.record)
        else build_snippets(policy, *find_example(pages, policy, created.view.record))
    )
    return pages.render(
        "token_created.html",
        visitor,
        policy=policy,
        created=created,
        variable=variable_name(policy.name),
        snippets=snippets,
    )


async def _check_first(pages: Pages, visitor: Visitor, form: TokenForm) -> None:
    if not await pages.visitors.is_first(visitor, form.key):
        raise FormMistake("", SENT_TWICE)


def _bounded(request: TokenRequest, policy: Policy, visitor: Visitor) -> TokenRequest:
    """Return the request with the visitor's bounds. Raise FormMistake for more than the visitor can grant."""
    request = as_given(visitor.giver, request)
    problem = why_none(policy, visitor.giver) or excess_grants(policy, visitor.giver, request)
    if problem:
        raise FormMistake("", problem)
    return request


class ListAddress(msgspec.Struct, frozen=True):
    """The address of a list, and of similar lists; without a policy it is that of all."""

    policy: str
    project: str
    owner: str
    listing: Listing

    def __call__(self, **changes: str | int) -> str:
        """Return the address with these changes; another sort or filter begins with the first page."""
        listing = self.listing
        values = {
            "policy": self.policy,
            "project": self.project,
            "owner": self.owner,
            "q": listing.text,
            "state": listing.state,
            "sort": listing.sort,
            **changes,
        }
        defaults = {"state": Listing().state, "sort": Listing().sort, "page": 1}
        return "/tokens?" + urlencode({k: v for k, v in values.items() if v != "" and v != defaults.get(k)})
