"""Find the one credential of a request, without IO: a missing or malformed one never reaches Redis."""

from collections.abc import Iterable

from gateway.core.http.fields import is_bearer, parse_bearer
from gateway.core.http.messages import Fields
from gateway.core.http.reasons import Reason
from gateway.core.policies.model import USUAL, CredentialSource, Policy
from gateway.core.tokens.text import is_well_formed


def find_credential(fields: Fields, policy: Policy) -> str | Reason:
    """Return the token text that the request presents under the policy, or the reason why there is none to look up.

    There must be one credential, once: a second one is ambiguous even if it is equal (RFC 6750 2: a client must not use
    more than one method in a request).
    """
    presented: tuple[CredentialSource, bytes] | None = None
    for source in policy.credentials:
        for name, value in fields:
            if name == source.field:
                if presented is not None:
                    return Reason.AMBIGUOUS_CREDENTIALS
                presented = source, value
    if presented is None:
        return Reason.MISSING_CREDENTIALS
    source, value = presented
    text = parse_bearer(value) if source.is_bearer else _parse_bare(value)
    if text is not None and is_well_formed(text, policy.token_format):
        return text
    is_other_scheme = source.is_bearer and not is_bearer(value)
    return Reason.MISSING_CREDENTIALS if is_other_scheme else Reason.MALFORMED_CREDENTIALS


def credential_fields(sources: Iterable[CredentialSource]) -> frozenset[bytes]:
    """Return the names of the fields that can hold a token, if any policy takes one from these sources.

    None of them reaches a backend, whichever of them counts: a client may send its token in another one, too.
    """
    return USUAL.union(source.field for source in sources)


def _parse_bare(value: bytes) -> str | None:
    return value.decode("ascii") if value.isascii() and value.decode("ascii").isprintable() else None
