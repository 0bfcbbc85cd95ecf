"""Changes of tokens: what a policy allows for a new token or an existing one."""

from collections.abc import Collection
from enum import StrEnum

import msgspec

from gateway.core.errors import ChangeRefused, NotGrantable
from gateway.core.http.fields import build_timestamp
from gateway.core.policies.model import Policy
from gateway.core.policies.reading import unknown_name
from gateway.core.tokens.owners import OwnerRecord, grantable_scopes
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import (
    MAXIMUM_BINDING_LENGTH,
    MAXIMUM_DESCRIPTION_LENGTH,
    MAXIMUM_NAME_LENGTH,
    check_lines,
    check_text,
    digest,
    mint,
    shown_part,
    token_id,
)

LATEST_END = 253402300799
"""Unix seconds of the last moment that RFC 3339 can write."""


class TokenState(StrEnum):
    """The state of a token at one moment, the first match from the top."""

    REVOKED = "revoked"
    DISABLED = "disabled"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    ACTIVE = "active"


class Bounds(msgspec.Struct, frozen=True):
    """The owner and the parent of a token, which cannot grant more than they have."""

    owner: OwnerRecord | None = None
    """None if the token names no owner, or if its owner is only a name."""
    parent: TokenRecord | None = None


NO_BOUNDS = Bounds()


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a new token that a caller requests."""

    name: str
    project: str = ""
    owner: str = ""
    scopes: tuple[str, ...] = ()
    """If empty, all that the owner may grant and the current plan allows, except the scope to sign in with."""
    plan: str | None = None
    """If None, its owner's plan, or the policy's first plan if the owner has none."""
    not_before: int | None = None
    expires_at: int | None = None
    description: str = ""


class TokenChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The changes of a token that a caller requests; what is UNSET stays."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    scopes: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    plan: str | msgspec.UnsetType = msgspec.UNSET
    """If empty, the token has no plan of its own any more, provided that the policy lets tokens have one."""
    not_before: int | msgspec.UnsetType | None = msgspec.UNSET
    expires_at: int | msgspec.UnsetType | None = msgspec.UNSET
    is_active: bool | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET


def mint_token(
    policy: Policy,
    request: TokenRequest,
    random_bytes: bytes,
    pepper: bytes,
    now: int,
    owner: OwnerRecord | None = None,
) -> tuple[str, TokenRecord]:
    """Return a new token's text and record. Raise ChangeRefused as `make_record` does. `now` is in Unix seconds."""
    text = mint(policy.token_format, random_bytes)
    shown = shown_part(text, policy.token_format)
    return text, make_record(policy, request, digest(text, pepper), shown, now, owner)


def make_record(
    policy: Policy,
    request: TokenRequest,
    token_digest: str,
    shown: str,
    now: int,
    owner: OwnerRecord | None = None,
) -> TokenRecord:
    """Return the record of a new token. Raise ChangeRefused if the policy or its owner does not allow it.

    `now` is in Unix seconds; `owner` is the record of the owner that the request names, if there is one.
    """
    if policy.bound_to != "none" and not policy.binding(request.project, request.owner):
        raise ChangeRefused(
            f"the policy {policy.name} binds each token to its {policy.bound_to}: name one, or write "
            '`bound_to = "none"` under [token] where the product has none'
        )
    for binding in (request.project, request.owner):
        check_text("a project's or owner's id", binding, MAXIMUM_BINDING_LENGTH)
    plan = own_plan(policy, request.plan, request.owner, owner)
    record = TokenRecord(
        last_use=0,
        digest=token_digest,
        policy=policy.name,
        is_active=True,
        not_before=request.not_before,
        expires_at=request.expires_at,
        scopes=policy.own_scopes(request.scopes),
        plan=plan,
        lineage=token_id(token_digest),
        project=request.project,
        owner=request.owner,
        name=request.name,
        shown=shown,
        created_at=now,
        description=request.description,
    )
    check_record(policy, record, record.__struct_fields__, now)
    if not request.scopes:
        granted = grantable_to(policy, record, Bounds(owner))
        return msgspec.structs.replace(record, scopes=" ".join(policy.unasked_scopes(granted)))
    check_bounds(policy, record, record.__struct_fields__, Bounds(owner))
    return record


def own_plan(policy: Policy, named: str | None, owner: str, record: OwnerRecord | None) -> str:
    """Return the plan to write into a record if `named` is requested.

    If that is the plan of the token's owner, the token has none of its own: a change of the account's plan changes it
    too. Raise ChangeRefused if only the owner's plan can count.
    """
    owners = record.plan if record else ""
    if named is None or (owners and named == owners):
        return "" if policy.has_own_plans else policy.first_plan
    if owners and not policy.has_own_plans:
        raise ChangeRefused(
            f"the owner {owner} has the plan {owners}, and so have its tokens: change it with `gateway owner set "
            f"{owner} --plan`, or write `own_plans = true` under [token] in the policy {policy.name}"
        )
    return named


def update_record(
    policy: Policy, record: TokenRecord, change: TokenChange, now: int, bounds: Bounds = NO_BOUNDS, asker: str = ""
) -> TokenRecord:
    """Return the record after the change. Raise ChangeRefused if the policy or the bounds do not allow it.

    Unchanged values are not checked again. `asker` is the id of the policy's own token that asks, empty for an
    operator.
    """
    values = {name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not msgspec.UNSET}
    if "scopes" in values:
        values["scopes"] = policy.own_scopes(values["scopes"])
    if record.is_exchanged and values.keys() & {"expires_at", "not_before"}:
        raise ChangeRefused("the token of a job ends after its minutes: the job gets another one for an ID token")
    if record.parent and "plan" in values:
        raise ChangeRefused(f"a child has the plan of its parent: change token {record.parent}")
    if "plan" in values:
        values["plan"] = own_plan(policy, values["plan"], record.owner, bounds.owner)
    if "is_active" in values:
        values["disabled_by"] = _find_disabler(record, asker, is_active=values["is_active"])
    overrides = tuple(override for override in record.overrides if now < override.until)
    updated = msgspec.structs.replace(record, **values, overrides=overrides)
    check_record(policy, updated, values.keys(), now)
    check_bounds(policy, updated, values.keys(), bounds)
    return updated


def state_of(record: TokenRecord, is_revoked: bool, now: int, parent: TokenState = TokenState.ACTIVE) -> TokenState:
    """Return the state of the token at `now`, Unix seconds. A child has its parent's state unless that is active."""
    if is_revoked:
        return TokenState.REVOKED
    if parent is not TokenState.ACTIVE:
        return parent
    if not record.is_active:
        return TokenState.DISABLED
    if record.expires_at is not None and record.expires_at <= now:
        return TokenState.EXPIRED
    if record.not_before is not None and record.not_before > now:
        return TokenState.NOT_YET_VALID
    return TokenState.ACTIVE


def idle_since(record: TokenRecord) -> int:
    """Return since when the token has not been used, in Unix seconds: its last use, or its creation if never used."""
    return record.last_use or record.created_at


def check_record(policy: Policy, record: TokenRecord, changed: Collection[str], now: int) -> None:
    """Raise ChangeRefused if the policy does not allow the value of a changed field. `now` is in Unix seconds."""
    if "name" in changed:
        check_text("a token's name", record.name, MAXIMUM_NAME_LENGTH)
        if not record.name:
            raise ChangeRefused("a token needs a name")
    if "description" in changed:
        check_lines("a description", record.description, MAXIMUM_DESCRIPTION_LENGTH)
    if "plan" in changed and record.plan not in policy.plans and (record.plan or not policy.has_own_plans):
        raise ChangeRefused(unknown_name("plan", record.plan, policy.plans))
    if "scopes" in changed:
        for scope in record.scopes.split():
            if scope not in policy.scopes:
                raise ChangeRefused(unknown_name("scope", scope, policy.scope_names))
    _check_dates(record, changed, now)


def grantable_to(policy: Policy, record: TokenRecord, bounds: Bounds) -> set[str]:
    """Return the scopes that the token may be given. Raise ChangeRefused if its owner may give it none at all."""
    granted = grantable_scopes(policy, record.owner, bounds.owner, record.project)
    if bounds.parent is None:
        return granted
    plan = policy.plan_of(bounds.parent.plan, bounds.owner.plan if bounds.owner else "")
    return set(policy.effective_scopes([bounds.parent.scopes, " ".join(granted)], plan).split())


def check_bounds(policy: Policy, record: TokenRecord, changed: Collection[str], bounds: Bounds) -> None:
    """Raise ChangeRefused if a changed field is more than the owner or the parent can grant."""
    if "scopes" in changed:
        granted = grantable_to(policy, record, bounds)
        giver = f"the owner {record.owner}" if bounds.owner else f"the policy {policy.name}"
        giver = f"the parent {record.parent}" if bounds.parent else giver
        for scope in record.scopes.split():
            if scope not in granted:
                raise NotGrantable(f"{giver} may not grant {scope!r}: it has {', '.join(sorted(granted)) or 'none'}")
    latest = bounds.parent.expires_at if bounds.parent else None
    if "expires_at" in changed and latest is not None and (record.expires_at is None or record.expires_at > latest):
        raise NotGrantable(f"a child ends with its parent, {build_timestamp(latest).decode()}, or before")


def _find_disabler(record: TokenRecord, asker: str, *, is_active: bool) -> str:
    """Return who has disabled the token after this change. Raise NotGrantable if only an operator may enable it."""
    is_operators = not record.is_active and not record.disabled_by
    if asker and is_active and is_operators:
        raise NotGrantable("an operator has disabled this token: only an operator can enable it")
    return "" if is_active or (asker and is_operators) else asker


def _check_dates(record: TokenRecord, changed: Collection[str], now: int) -> None:
    starts, ends = record.not_before, record.expires_at
    if "expires_at" in changed and ends is not None:
        if ends <= now:
            raise ChangeRefused("the token would have ended already")
        if ends > LATEST_END:
            raise ChangeRefused("a token ends before the year 10000, or never")
    if "not_before" in changed and starts is not None and starts > LATEST_END:
        raise ChangeRefused("a token begins before the year 10000")
    is_changed = "not_before" in changed or "expires_at" in changed
    if is_changed and starts is not None and ends is not None and starts >= ends:
        raise ChangeRefused("the token would end before it begins")
