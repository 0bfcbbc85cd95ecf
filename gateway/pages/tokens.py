"""The pages of one token: what is known of it, and its changes."""

from collections.abc import Callable, Mapping
from typing import Any

from litestar import Controller, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Template
from msgspec import UNSET
from msgspec.structs import replace

from gateway.admin.access import READING, WRITING
from gateway.core.errors import ChangedMeanwhile, ChangeRefused
from gateway.core.pages.permissions import excess_grants, excess_grants_of_rotation, grantable
from gateway.core.policies.model import Policy
from gateway.core.quotas.model import Window
from gateway.core.tokens.admin_tokens import ADMIN, is_admin
from gateway.core.tokens.audit import AuditQuery
from gateway.core.tokens.changes import TokenChange, TokenState
from gateway.core.tokens.lifecycle import REFUSING_STATES
from gateway.core.tokens.views import TokenView
from gateway.core.tokens.whoami import identity_rule
from gateway.pages.common import Asking, GivenForm, GivenPages, GivenVisitor, Pages, see_other, text_of
from gateway.pages.forms import (
    DEFAULT_OVERLAP,
    OVERLAPS,
    FormMistake,
    TokenForm,
    build_change,
    choose_offered,
    mask_form,
    offer_expiries,
    read_token_form,
)
from gateway.pages.sessions import Visitor
from gateway.pages.token_list import group_scopes, render_created

HISTORY_LENGTH = 20
MOST_MADE = 100
"""Tokens created with one that a page counts: an admin token of a program can have created a million."""
SHOWN_DAYS = 30
CHANGED = "Somebody changed this token in the meantime. What you see now is how it is; your change was not made."
DONE = {
    "saved": "Your changes are saved. They act on the token's next request.",
    "disabled": "The token is disabled: its next request is refused. Enable it to let it pass again.",
    "enabled": "The token is enabled again.",
    "revoked": "The token is revoked, for good. Its next request is refused.",
}
"""The notice after a change, by the word in the page's address."""
IS_DONE: Mapping[str, Callable[[TokenView], bool]] = {
    "saved": lambda view: view.record.updated_at is not None,
    "disabled": lambda view: not view.record.is_active,
    "enabled": lambda view: view.record.is_active,
    "revoked": lambda view: view.is_revoked,
}
"""Whether each notice is true: addresses can be made up."""


class TokenPages(Controller):
    """`/tokens/ID`."""

    path = "/tokens/{identity:str}"

    @get(opt=READING)
    async def show(
        self, request: Asking, pages: GivenPages, visitor: GivenVisitor, identity: FromPath[str]
    ) -> Template:
        """Show all that is known of the token; nothing of it is secret."""
        view = await pages.token(visitor, identity)
        return await _render(pages, visitor, view, notice=_notice_of(view, request.query_params.get("done", "")))

    @get("/edit", opt=READING)
    async def ask_for_changes(self, pages: GivenPages, visitor: GivenVisitor, identity: FromPath[str]) -> Template:
        """Show the form with the token's current settings."""
        view = await pages.token(visitor, identity)
        return _render_edit(pages, visitor, view, _form_of(view))

    @post("/edit", opt=WRITING, status_code=200)
    async def edit(
        self, pages: GivenPages, visitor: GivenVisitor, identity: FromPath[str], form: GivenForm
    ) -> Template | Redirect:
        """Change name, description, scopes and expiry; refuse it if another change came first."""
        view, asked = await pages.token(visitor, identity), read_token_form(form)
        policy = pages.policy(view.record.policy)
        try:
            change = build_change(asked, policy, int(pages.clock()), visitor.latest)
            if set(asked.scopes) == set(view.record.scopes.split()):  # a form has them in the policy's order
                change = replace(change, scopes=UNSET)
            _check_excess(policy, visitor, change, view)
            await pages.management.update_token(visitor.actor, identity, change, text_of(form, "version"))
        except FormMistake as mistake:
            return _render_edit(pages, visitor, view, asked, mistake)
        except ChangedMeanwhile:
            view = await pages.token(visitor, identity)
            return _render_edit(pages, visitor, view, _form_of(view), FormMistake("", CHANGED), status=409)
        except ChangeRefused as refusal:
            return _render_edit(pages, visitor, view, asked, FormMistake("", str(refusal)))
        return see_other(f"/tokens/{identity}", done="saved")

    @get("/rotate", opt=READING)
    async def ask_for_rotation(self, pages: GivenPages, visitor: GivenVisitor, identity: FromPath[str]) -> Template:
        """Show the form for a successor."""
        return _render_rotate(pages, visitor, await pages.token(visitor, identity))

    @post("/rotate", opt=WRITING, status_code=200)
    async def rotate(
        self, pages: GivenPages, visitor: GivenVisitor, identity: FromPath[str], form: GivenForm
    ) -> Template:
        """Create a successor and show its text, this once."""
        view = await pages.token(visitor, identity)
        policy, overlap = pages.policy(view.record.policy), text_of(form, "overlap")
        problem = excess_grants_of_rotation(policy, visitor.giver, view.record)
        if overlap not in OVERLAPS:
            problem = "Pick one of the times."
        if problem:
            return _render_rotate(pages, visitor, view, problem)
        try:
            created = await pages.management.rotate_token(visitor.actor, identity, int(overlap))
        except ChangeRefused as refusal:
            return _render_rotate(pages, visitor, await pages.token(visitor, identity), str(refusal))
        return render_created(pages, visitor, policy, created)

    @get("/revoke", opt=READING)
    async def ask_for_revocation(self, pages: GivenPages, visitor: GivenVisitor, identity: FromPath[str]) -> Template:
        """Ask for a confirmation of the revocation."""
        return await _render_revoke(pages, visitor, await pages.token(visitor, identity))

    @post("/revoke", opt=WRITING, status_code=200)
    async def revoke(
        self, pages: GivenPages, visitor: GivenVisitor, identity: FromPath[str], form: GivenForm
    ) -> Template | Redirect:
        """Revoke the token for good, if its name was typed; with a tick also the tokens created with it."""
        view = await pages.token(visitor, identity)
        if text_of(form, "confirmation") != view.record.name.strip():
            problem = "What you typed is not the token's name. Nothing was changed."
            return await _render_revoke(pages, visitor, view, problem, with_made=bool(text_of(form, "with_made")))
        if text_of(form, "with_made"):
            await pages.management.revoke_with_made(visitor.actor, identity)
        else:
            await pages.management.revoke_token(visitor.actor, identity)
        return see_other(f"/tokens/{identity}", done="revoked")

    @post("/disable", opt=WRITING, status_code=200)
    async def disable(
        self, pages: GivenPages, visitor: GivenVisitor, identity: FromPath[str], form: GivenForm
    ) -> Template | Redirect:
        """Refuse the token's requests until it is enabled."""
        return await _switch(pages, visitor, identity, text_of(form, "version"), is_active=False)

    @post("/enable", opt=WRITING, status_code=200)
    async def enable(
        self, pages: GivenPages, visitor: GivenVisitor, identity: FromPath[str], form: GivenForm
    ) -> Template | Redirect:
        """Accept the token's requests again."""
        return await _switch(pages, visitor, identity, text_of(form, "version"), is_active=True)


def may_rotate(visitor: Visitor, view: TokenView) -> bool:
    """Return whether the token can be rotated; an admin token only by itself (core/tokens/admin_tokens.py)."""
    is_others = is_admin(view.record) and view.identity != visitor.record.identity
    return view.state not in REFUSING_STATES and not view.record.successor and not is_others


def _check_excess(policy: Policy, visitor: Visitor, change: TokenChange, view: TokenView) -> None:
    problem = excess_grants(policy, visitor.giver, change, view.record)
    if problem:
        raise FormMistake("", problem)


def _notice_of(view: TokenView, done: str) -> str:
    return DONE[done] if done in DONE and IS_DONE[done](view) else ""


async def _switch(
    pages: Pages, visitor: Visitor, identity: str, version: str, *, is_active: bool
) -> Template | Redirect:
    await pages.token(visitor, identity)
    try:
        await pages.management.update_token(visitor.actor, identity, TokenChange(is_active=is_active), version)
    except ChangeRefused as refusal:
        problem = CHANGED if isinstance(refusal, ChangedMeanwhile) else str(refusal)
        return await _render(pages, visitor, await pages.token(visitor, identity), problem=problem, status=409)
    return see_other(f"/tokens/{identity}", done="enabled" if is_active else "disabled")


async def _render(
    pages: Pages, visitor: Visitor, view: TokenView, notice: str = "", problem: str = "", status: int = 200
) -> Template:
    record = view.record
    history = await pages.management.search_audit(AuditQuery(target=record.identity), HISTORY_LENGTH)
    usage = await pages.usage.tokens_usage([record.identity], SHOWN_DAYS)
    return pages.render(
        "token.html",
        visitor,
        status=status,
        view=view,
        usage=usage[record.identity],
        policy=ADMIN if is_admin(record) else pages.set.policies.get(record.policy),
        is_admin=is_admin(record),
        windows=await _find_windows(pages, view),
        history=history,
        maker=await _find_maker(pages, visitor, record.made_by),
        made=await _find_made(pages, visitor, record.identity),
        notice=notice,
        problem=problem,
        is_over=view.state in (TokenState.REVOKED, TokenState.EXPIRED),
        may_rotate=may_rotate(visitor, view),
    )


async def _find_maker(pages: Pages, visitor: Visitor, made_by: str) -> TokenView | None:
    """Return the token that made another one, within the visitor's access."""
    maker = await pages.management.show_token(made_by) if made_by else None
    return maker if maker is not None and visitor.access.covers(maker.record) else None


async def _find_made(pages: Pages, visitor: Visitor, identity: str) -> list[TokenView]:
    """Return the tokens made with a token, and with those, within the visitor's access; at most MOST_MADE + 1."""
    made = await pages.management.list_made(identity, MOST_MADE)
    return [view for view in made if visitor.access.covers(view.record)][: MOST_MADE + 1]


async def _find_windows(pages: Pages, view: TokenView) -> tuple[Window, ...]:
    """Return the state of the quotas of the token's plan; empty if it no longer matters."""
    policy = pages.set.policies.get(view.record.policy)
    if policy is None or view.state is TokenState.REVOKED:
        return ()
    inspection = await pages.tokens.inspect(view.identity, identity_rule(policy), view.record.project)
    return inspection.windows if inspection else ()


def _form_of(view: TokenView) -> TokenForm:
    record = view.record
    return TokenForm(
        name=record.name, description=record.description, expiry="keep", scopes=tuple(record.scopes.split())
    )


def _render_edit(
    pages: Pages,
    visitor: Visitor,
    view: TokenView,
    form: TokenForm,
    mistake: FormMistake | None = None,
    status: int = 422,
) -> Template:
    policy = pages.policy(view.record.policy)
    held = frozenset(view.record.scopes.split())
    expiries = {"keep": "As it is", **offer_expiries(int(pages.clock()), visitor.latest)}
    return pages.render(
        "token_edit.html",
        visitor,
        status=status if mistake else 200,
        view=view,
        policy=policy,
        form=mask_form(choose_offered(form, expiries), pages.management.mask),
        mistake=mistake,
        groups=group_scopes(policy),
        grantable=grantable(policy, visitor.giver) | held,
        expiries=expiries,
    )


async def _render_revoke(
    pages: Pages, visitor: Visitor, view: TokenView, problem: str = "", *, with_made: bool = False
) -> Template:
    made = [one for one in await _find_made(pages, visitor, view.identity) if not one.is_revoked]
    context: dict[str, Any] = {"view": view, "made": made, "with_made": with_made, "problem": problem}
    return pages.render("token_revoke.html", visitor, status=422 if problem else 200, **context)


def _render_rotate(pages: Pages, visitor: Visitor, view: TokenView, problem: str = "") -> Template:
    context: dict[str, Any] = {"view": view, "overlaps": OVERLAPS, "chosen": DEFAULT_OVERLAP, "problem": problem}
    return pages.render("token_rotate.html", visitor, status=422 if problem else 200, **context)
