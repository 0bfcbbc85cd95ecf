"""What the management API takes. Times are RFC 3339 with their offset.

What is asked for is bounded here as far as a schema can say it; the rest is core's to refuse (core/administration.py).
"""

from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.core.administration import TokenChange, TokenRequest
from gateway.core.owners import OwnerStatus
from gateway.core.texts import MAXIMUM_BINDING_LENGTH, MAXIMUM_DESCRIPTION_LENGTH, MAXIMUM_NAME_LENGTH

LATEST_OVERLAP_SECONDS = 366 * 86400
MAXIMUM_SCOPES = 256

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAXIMUM_NAME_LENGTH)]
Description: TypeAlias = Annotated[str, Meta(max_length=MAXIMUM_DESCRIPTION_LENGTH)]
Binding: TypeAlias = Annotated[str, Meta(max_length=MAXIMUM_BINDING_LENGTH)]
Scopes: TypeAlias = Annotated[list[Annotated[str, Meta(min_length=1, max_length=128)]], Meta(max_length=MAXIMUM_SCOPES)]
Named: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAXIMUM_BINDING_LENGTH)]
TokenId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
PolicyName: TypeAlias = Annotated[str, Meta(max_length=63)]
Plan: TypeAlias = Annotated[str, Meta(max_length=63)]
Instant: TypeAlias = Annotated[datetime, Meta(tz=True)]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for; an unknown field is refused."""

    SCHEMA: ClassVar[dict[str, Any]] = {}
    """What its JSON Schema says besides its fields."""


class NewChild(Body, frozen=True, kw_only=True):
    """A child of a token; what it does not say is its parent's."""

    name: Name
    description: Description = ""
    scopes: Scopes = []
    not_before: Instant | None = None
    expires_at: Instant | None = None

    def request(self) -> TokenRequest:
        """The same for core."""
        return TokenRequest(
            name=self.name,
            description=self.description,
            scopes=tuple(self.scopes),
            not_before=to_seconds(self.not_before),
            expires_at=to_seconds(self.expires_at),
        )


class NewToken(NewChild, frozen=True, kw_only=True):
    """A token. Without scopes it holds all that its owner may grant, but for the one to sign in with."""

    policy: PolicyName
    project: Binding = ""
    owner: Binding = ""
    plan: Plan | None = None

    def request(self) -> TokenRequest:
        """The same for core."""
        bound = {"project": self.project, "owner": self.owner, "plan": self.plan}
        return msgspec.structs.replace(super().request(), **bound)


class TokenPatch(Body, frozen=True, kw_only=True):
    """A merge patch (RFC 7396): what is not there stays, null takes a bound away."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    scopes: Scopes | UnsetType = UNSET
    plan: Plan | UnsetType | None = UNSET
    """Null, where the policy lets tokens have plans of their own: the owner's plan counts again."""
    is_active: bool | UnsetType = UNSET
    not_before: Instant | UnsetType | None = UNSET
    expires_at: Instant | UnsetType | None = UNSET

    def change(self) -> TokenChange:
        """The same for core."""
        return TokenChange(
            name=self.name,
            description=self.description,
            scopes=self.scopes if isinstance(self.scopes, UnsetType) else tuple(self.scopes),
            plan="" if self.plan is None else self.plan,
            is_active=self.is_active,
            not_before=UNSET if isinstance(self.not_before, UnsetType) else to_seconds(self.not_before),
            expires_at=UNSET if isinstance(self.expires_at, UnsetType) else to_seconds(self.expires_at),
        )


class NewRotation(Body, frozen=True, kw_only=True):
    """A rotation."""

    overlap_seconds: Annotated[float, Meta(ge=0, le=LATEST_OVERLAP_SECONDS, multiple_of=1)] = 86400
    """How long the old token still works beside its successor: a whole number, which JSON may write as 60.0."""
    expires_at: Instant | UnsetType | None = UNSET
    """The successor's end; absent: the old token's."""


class NewRevocation(Body, frozen=True, kw_only=True):
    """What ends: a `lineage`; a token `with_made`, what it made; of a `policy` those of a `project` or `owner`."""

    SCHEMA = {
        "oneOf": [
            {"required": ["lineage"], "maxProperties": 1},
            {"required": ["with_made"], "maxProperties": 1},
            {"required": ["policy", "project"], "maxProperties": 2},
            {"required": ["policy", "owner"], "maxProperties": 2},
        ]
    }

    lineage: TokenId | UnsetType = UNSET
    with_made: TokenId | UnsetType = UNSET
    """Of a token that has leaked: it ends with what was made with it, on the page or by an API, and what that made."""
    policy: Annotated[str, Meta(min_length=1, max_length=63)] | UnsetType = UNSET
    project: Named | UnsetType = UNSET
    owner: Named | UnsetType = UNSET


class OwnerPatch(Body, frozen=True, kw_only=True):
    """A merge patch: the scopes of each project that is named, null to take it out; what is not there stays."""

    status: OwnerStatus | UnsetType = UNSET
    plan: Plan | UnsetType | None = UNSET
    """The plan of all the owner's tokens; null takes it away."""
    permissions: Annotated[dict[Binding, Scopes | None], Meta(max_length=1000)] = {}


class NewPurge(Body, frozen=True, kw_only=True):
    """What is to end of a policy's stored exports: exactly one of the others, or `everything`."""

    SCHEMA = {"oneOf": [{"required": [name]} for name in ("url", "group", "project", "owner", "token", "everything")]}

    policy: PolicyName
    url: Annotated[str, Meta(pattern="^https?://[^/?#]+/", max_length=8192)] | UnsetType = UNSET
    group: Annotated[str, Meta(min_length=1, max_length=128)] | UnsetType = UNSET
    project: Named | UnsetType = UNSET
    owner: Named | UnsetType = UNSET
    token: TokenId | UnsetType = UNSET
    everything: Annotated[bool, Meta(extra_json_schema={"const": True})] | UnsetType = UNSET


def said(body: Body) -> dict[str, Any]:
    """What is said in the content of a call; what is not there is not said."""
    return {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not UNSET}


def to_seconds(time: datetime | None) -> int | None:
    """Unix seconds of a time."""
    return None if time is None else int(time.timestamp())
