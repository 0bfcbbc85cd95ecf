"""The schemas of calls and answers, as the OpenAPI document has them and msgspec reads them.

Litestar's own schemas do not say that unknown fields are refused, nor what a list or a map may hold.

Times in calls are RFC 3339 with their offset. Calls are bounded here as far as a schema can; core refuses the rest
(core/tokens/changes.py). Times in answers are RFC 3339 in UTC; missing values are null. Answers about policies have the
choices for a new token.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias

from litestar.openapi.spec import Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition
from msgspec import UNSET, Meta, UnsetType

from gateway.core.errors import ChangeRefused
from gateway.core.moving.rows import ImportRow, RowOutcome
from gateway.core.policies.model import Policy
from gateway.core.tokens.audit import Action, AuditEntry
from gateway.core.tokens.changes import TokenChange, TokenRequest
from gateway.core.tokens.lifecycle import ByDigest, ByText
from gateway.core.tokens.owners import OwnerRecord, OwnerStatus
from gateway.core.tokens.text import (
    MAXIMUM_BINDING_LENGTH,
    MAXIMUM_DESCRIPTION_LENGTH,
    MAXIMUM_NAME_LENGTH,
    MAXIMUM_TEXT_LENGTH,
)
from gateway.core.tokens.views import ShownToken, to_time
from gateway.core.variants.options import Offer

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator
import msgspec

LATEST_OVERLAP_SECONDS = 366 * 86400
MAXIMUM_SCOPES = 256
MAXIMUM_ROWS = 1000
"""Of one import: it takes a second or two."""

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
    """The content of a call; an unknown field is refused."""

    SCHEMA: ClassVar[dict[str, Any]] = {}
    """Members of its JSON Schema besides its fields."""


class NewChild(Body, frozen=True, kw_only=True):
    """A child of a token; a missing field has the parent's value."""

    name: Name
    description: Description = ""
    scopes: Scopes = []
    not_before: Instant | None = None
    expires_at: Instant | None = None

    def request(self) -> TokenRequest:
        """Return the request for core."""
        return TokenRequest(
            name=self.name,
            description=self.description,
            scopes=tuple(self.scopes),
            not_before=to_seconds(self.not_before),
            expires_at=to_seconds(self.expires_at),
        )


class NewToken(NewChild, frozen=True, kw_only=True):
    """A token. Without scopes it holds all that its owner may grant, except the one to sign in with."""

    policy: PolicyName
    project: Binding = ""
    owner: Binding = ""
    plan: Plan | None = None

    def request(self) -> TokenRequest:
        """Return the request for core."""
        bound = {"project": self.project, "owner": self.owner, "plan": self.plan}
        return msgspec.structs.replace(super().request(), **bound)


class NewRow(NewChild, frozen=True, kw_only=True):
    """A token that exists elsewhere: its `digest`, with what lists may show of it, or its `text`."""

    digest: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    text: Annotated[str, Meta(min_length=1, max_length=MAXIMUM_TEXT_LENGTH)] | UnsetType = UNSET
    shown: Annotated[str, Meta(max_length=24)] = ""
    project: Binding = ""
    owner: Binding = ""
    plan: Plan | None = None
    is_active: bool = True

    def __repr__(self) -> str:
        return "NewRow()"

    def row(self, line: int) -> ImportRow:
        """Return the row for core, at its place in the list. Raise ChangeRefused unless it has a digest or a text."""
        if isinstance(self.digest, str) == isinstance(self.text, str):
            raise ChangeRefused("a row has one of `digest` and `text`")
        bound = {"project": self.project, "owner": self.owner, "plan": self.plan}
        imported = ByText(self.text) if isinstance(self.text, str) else ByDigest(str(self.digest), self.shown)
        return ImportRow(line, msgspec.structs.replace(super().request(), **bound), imported, self.is_active)


class NewImport(Body, frozen=True, kw_only=True):
    """Tokens of one policy that exist elsewhere."""

    policy: PolicyName
    rows: Annotated[list[NewRow], Meta(min_length=1, max_length=MAXIMUM_ROWS)]


class TokenPatch(Body, frozen=True, kw_only=True):
    """A merge patch (RFC 7396): a missing field stays, null removes a bound."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    scopes: Scopes | UnsetType = UNSET
    plan: Plan | UnsetType | None = UNSET
    """If null, the owner's plan counts again, provided that the policy lets tokens have plans of their own."""
    is_active: bool | UnsetType = UNSET
    not_before: Instant | UnsetType | None = UNSET
    expires_at: Instant | UnsetType | None = UNSET

    def change(self) -> TokenChange:
        """Return the change for core."""
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
    """The successor's expiry; absent: the old token's."""


class NewRevocation(Body, frozen=True, kw_only=True):
    """Tokens to revoke: a `lineage`, a token `with_made` tokens, or those of a `policy` for a `project` or `owner`."""

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
    """For a leaked token: it is revoked with all tokens that were created with it, directly or indirectly."""
    policy: Annotated[str, Meta(min_length=1, max_length=63)] | UnsetType = UNSET
    project: Named | UnsetType = UNSET
    owner: Named | UnsetType = UNSET


class OwnerPatch(Body, frozen=True, kw_only=True):
    """A merge patch: the scopes of each named project, null to remove it; a missing field stays."""

    status: OwnerStatus | UnsetType = UNSET
    plan: Plan | UnsetType | None = UNSET
    """The plan of all the owner's tokens; null removes it."""
    permissions: Annotated[dict[Binding, Scopes | None], Meta(max_length=1000)] = {}


class NewPurge(Body, frozen=True, kw_only=True):
    """The stored exports of a policy to purge: exactly one of the others, or `everything`."""

    SCHEMA = {"oneOf": [{"required": [name]} for name in ("url", "group", "project", "owner", "token", "everything")]}

    policy: PolicyName
    url: Annotated[str, Meta(pattern="^https?://[^/?#]+/", max_length=8192)] | UnsetType = UNSET
    group: Annotated[str, Meta(min_length=1, max_length=128)] | UnsetType = UNSET
    project: Named | UnsetType = UNSET
    owner: Named | UnsetType = UNSET
    token: TokenId | UnsetType = UNSET
    everything: Annotated[bool, Meta(extra_json_schema={"const": True})] | UnsetType = UNSET


def given_fields(body: Body) -> dict[str, Any]:
    """Return the fields that the content of a call has."""
    return {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not UNSET}


def to_seconds(time: datetime | None) -> int | None:
    """Return the Unix seconds of a time, or None for None."""
    return None if time is None else int(time.timestamp())


ALIASES = {"not": "schema_not", "if": "schema_if", "else": "schema_else"}
ONE_SCHEMA = {"items", "additional_properties", "property_names", "schema_not"}
MANY_SCHEMAS = {"any_of", "one_of", "all_of"}


class BodySchemas(OpenAPISchemaPlugin):
    """The plugin that describes each Body; its SCHEMA has what is to be added to its fields."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Return whether the field is a Body."""
        return not field_definition.is_union and field_definition.is_subclass_of(Body)

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: "SchemaCreator") -> Schema:
        """Return its schema, a component of the document."""
        kind: type[Body] = field_definition.annotation
        _, components = msgspec.json.schema_components([kind], ref_template="{name}")
        described = build_schema({**components[kind.__name__], **kind.SCHEMA}, components)
        schema = schema_creator.schema_registry.get_schema_for_field_definition(field_definition)
        for name in described.__dataclass_fields__:
            setattr(schema, name, getattr(described, name))
        return schema


def build_schema(described: dict[str, Any], components: dict[str, Any]) -> Schema:
    """Return a JSON Schema as Litestar has it; references are replaced by their components."""
    if "$ref" in described:
        described = components[described["$ref"]]
    if described.get("multipleOf") == 1:  # a whole number, which may be written 60.0
        described = {**described, "type": "integer"}
    values: dict[str, Any] = {}
    for key, value in described.items():
        name = ALIASES.get(key) or "".join(f"_{one.lower()}" if one.isupper() else one for one in key)
        if name == "properties":
            values[name] = {field: build_schema(one, components) for field, one in value.items()}
        elif name in MANY_SCHEMAS:
            values[name] = [build_schema(one, components) for one in value]
        elif name in ONE_SCHEMA and isinstance(value, dict):
            values[name] = build_schema(value, components)
        else:
            values[name] = value
    return Schema(**values)


class TokenPage(msgspec.Struct, frozen=True):
    """A page of the tokens, the newest first."""

    tokens: list[ShownToken]
    total: int
    """The number of tokens on all pages."""
    next: str | None
    """The `cursor` of the next page; null on the last one."""


class ShownTokens(msgspec.Struct, frozen=True):
    """All tokens of a short list."""

    tokens: list[ShownToken]


class ImportOutcomes(msgspec.Struct, frozen=True):
    """What came of each row, in their order; `line` is its place, from 1."""

    outcomes: list[RowOutcome]


class Revoked(msgspec.Struct, frozen=True):
    """Ids of the tokens that this call has revoked."""

    revoked: list[str]


class ShownOwner(msgspec.Struct, frozen=True, kw_only=True):
    """An owner. Without permissions it is only a name, and restricts nothing."""

    owner: str
    policy: str
    status: OwnerStatus
    plan: str | None
    """The plan of all its tokens; null if each has its own."""
    permissions: dict[str, list[str]] | None
    version: int | None


class ShownOwners(msgspec.Struct, frozen=True):
    """The owners of a policy that have a record."""

    owners: list[ShownOwner]


class ShownEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A change, or one that was refused."""

    id: str
    time: datetime
    actor: str
    """The actor's name; for a token, "API key" and its name."""
    actor_kind: str
    actor_token: str | None
    address: str | None
    action: Action
    outcome: str
    """`done`, or the code of the refusal."""
    policy: str
    target: str | None
    """The id of the token, or of the owner."""
    name: str | None
    project: str | None
    owner: str | None
    changes: dict[str, list[Any]]
    """Maps a field to its values before and after; times are Unix seconds."""


class History(msgspec.Struct, frozen=True):
    """A page of the changes, the newest first."""

    entries: list[ShownEntry]
    next: str | None
    """The `cursor` of the next page; null if this page is not full."""


class Purged(msgspec.Struct, frozen=True):
    """The number of purged exports."""

    purged: int


def show_owner(policy: str, owner: str, record: OwnerRecord | None) -> ShownOwner:
    """Return an owner for an answer, with a record or without."""
    return ShownOwner(
        owner=owner,
        policy=policy,
        status=record.status if record else OwnerStatus.ACTIVE,
        plan=record.plan or None if record else None,
        permissions={name: held.split() for name, held in sorted(record.permissions.items())} if record else None,
        version=record.version if record else None,
    )


def show_entry(entry: AuditEntry) -> ShownEntry:
    """Return a change for an answer."""
    return ShownEntry(
        id=entry.id,
        time=to_time(entry.time),
        actor=entry.actor.title,
        actor_kind=entry.actor.kind,
        actor_token=entry.actor.token or None,
        address=entry.actor.address or None,
        action=entry.action,
        outcome=entry.outcome,
        policy=entry.policy,
        target=entry.target or None,
        name=entry.name or None,
        project=entry.project or None,
        owner=entry.owner or None,
        changes={field: list(pair) for field, pair in entry.changes.items()},
    )


class ShownProject(msgspec.Struct, frozen=True):
    """A project that tokens are bound to."""

    project: str
    tokens: int
    """The number of tokens that were ever created for it."""


class ShownProjects(msgspec.Struct, frozen=True):
    """The projects of a policy that have tokens."""

    projects: list[ShownProject]


class ShownScope(msgspec.Struct, frozen=True):
    """A scope that a policy knows."""

    name: str
    description: str
    category: str | None
    implies: list[str]
    aliases: list[str]


class ShownBundle(msgspec.Struct, frozen=True):
    """Scopes that are often needed together."""

    name: str
    description: str
    scopes: list[str]


class ShownPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The choices for a new token."""

    name: str
    bound_to: str
    scopes: list[ShownScope]
    bundles: list[ShownBundle]
    plans: list[str]


class ShownPolicies(msgspec.Struct, frozen=True):
    """The current policies."""

    policies: list[ShownPolicy]


class ShownOffers(msgspec.Struct, frozen=True):
    """The options of each rule with variants of a policy."""

    exports: list[Offer]


def show_policy(policy: Policy) -> ShownPolicy:
    """Return a policy for an answer, with what is needed to create tokens of it."""
    return ShownPolicy(
        name=policy.name,
        bound_to=policy.bound_to,
        scopes=[
            ShownScope(name, scope.description, scope.category or None, list(scope.implies), list(scope.aliases))
            for name, scope in policy.scopes.items()
        ],
        bundles=[ShownBundle(name, bundle.description, list(bundle.scopes)) for name, bundle in policy.bundles.items()],
        plans=[plan for plan in policy.plans if plan],
    )
