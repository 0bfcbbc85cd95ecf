"""Who asks, as an app's handlers know it: read from the fields that any backend gets (core/forwarding.py)."""

from urllib.parse import unquote

import msgspec

from gateway.core.client_fields import IDENTITY_FIELDS
from gateway.core.messages import Fields, field_value


class Principal(msgspec.Struct, frozen=True):
    """The holder of a token, and what it may do. Texts that say nothing are empty."""

    token_id: str
    token_name: str = ""
    project: str = ""
    owner: str = ""
    scopes: frozenset[str] = frozenset()
    """The effective ones: of the token, its owner, its parent and its plan."""


def parse_principal(fields: Fields) -> Principal | None:
    """Whom the identity fields name; None where they name nobody, as under a public rule."""
    identity, name, project, owner, scopes = (_text(field_value(fields, field)) for field in IDENTITY_FIELDS)
    return Principal(identity, name, project, owner, frozenset(scopes.split())) if identity else None


def _text(value: bytes | None) -> str:
    return unquote((value or b"").decode("ascii"))
