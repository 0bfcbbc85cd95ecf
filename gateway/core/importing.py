"""Import of tokens that exist elsewhere, by their digest or by their text, of which only the shown part is kept."""

import re
from typing import TypeAlias

import msgspec

from gateway.core.administration import TokenRequest, make_record
from gateway.core.credentials import find_credential
from gateway.core.errors import ChangeRefused
from gateway.core.owners import OwnerRecord
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord
from gateway.core.tokens import MAXIMUM_TEXT_LENGTH, TokenFormat, digest, is_well_formed, shown_part

DIGEST = re.compile(r"[0-9a-f]{64}")
SHOWN_SHARE = 2
"""At most half of a text is kept for display: one shorter than a minted token would else stand in Redis as it is."""


class ByDigest(msgspec.Struct, frozen=True):
    """A token known by its digest; `shown` is the beginning of its text, for lists."""

    digest: str
    shown: str = ""


class ByText(msgspec.Struct, frozen=True):
    """A token known by its text."""

    text: str

    def __repr__(self) -> str:
        return "ByText()"


Imported: TypeAlias = ByDigest | ByText


def import_token(
    policy: Policy, request: TokenRequest, imported: Imported, pepper: bytes, now: int, owner: OwnerRecord | None = None
) -> TokenRecord:
    """The record of a token that exists elsewhere; ChangeRefused for one that cannot be taken over."""
    if isinstance(imported, ByDigest):
        return import_digest(policy, request, imported.digest, imported.shown, now, owner)
    return import_text(policy, request, imported.text, pepper, now, owner)


def import_digest(
    policy: Policy, request: TokenRequest, token_digest: str, shown: str, now: int, owner: OwnerRecord | None = None
) -> TokenRecord:
    """The record of a token known by its digest; ChangeRefused for what is none or cannot be shown."""
    token_digest = token_digest.lower()
    if DIGEST.fullmatch(token_digest) is None:
        raise ChangeRefused("a digest is 64 hex digits: HMAC-SHA-256 under the pepper, SHA-256 without one")
    most = policy.token_format.shown_length(shown)
    if len(shown) > most or not shown.isprintable():
        raise ChangeRefused(f"of a token's text at most {most} printable characters are shown")
    return make_record(policy, request, token_digest, shown, now, owner)


def import_text(
    policy: Policy, request: TokenRequest, text: str, pepper: bytes, now: int, owner: OwnerRecord | None = None
) -> TokenRecord:
    """The record of a token known by its text; ChangeRefused where the policy could never accept it."""
    reason = why_unacceptable(text, policy)
    if reason:
        raise ChangeRefused(f"the policy {policy.name} could never accept this token: {reason}")
    shown = shown_part(text, policy.token_format)[: len(text) // SHOWN_SHARE]
    return make_record(policy, request, digest(text, pepper), shown, now, owner)


def why_unacceptable(text: str, policy: Policy) -> str:
    """Why no request can present `text` under the policy, in words that have nothing of it; empty where one can."""
    if not text:
        return "it is empty"
    if not is_well_formed(text, policy.token_format):
        return _why_malformed(text, policy.token_format)
    for source in policy.credentials if text.isascii() else ():
        value = text.encode()
        if find_credential([(source.field, b"Bearer " + value if source.is_bearer else value)], policy) == text:
            return ""
    return "it has characters that no credential field can carry"


def _why_malformed(text: str, token_format: TokenFormat) -> str:
    """The first that is wrong with a text that is not well-formed."""
    if len(text) > MAXIMUM_TEXT_LENGTH:
        return f"it is longer than {MAXIMUM_TEXT_LENGTH} characters"
    fitting = [prefix for prefix in token_format.prefixes if text.startswith(prefix)]
    if not fitting:
        return f"it does not begin with {' or '.join(token_format.prefixes)}"
    if all(len(text) != len(prefix) + token_format.length for prefix in fitting):
        return f"it does not have {token_format.length} characters after its prefix"
    return "its checksum does not fit; `checksum = false` in the policy accepts tokens that were minted elsewhere"
