"""An ID token whose signature was verified (OpenID Connect Core 2, RFC 7519)."""

import msgspec

from gateway.core.trust.model import Claims

MAXIMUM_TOKEN_LENGTH = 16 * 1024
"""Of the text of an ID token; those of CI providers have 1 to 4 KiB."""
ALGORITHMS: dict[str, tuple[str, str]] = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The algorithms that are taken (RFC 7518 3.1, RFC 8037 3.1), each with the type and the curve of its keys.

None of them has a secret that the gateway would know: so no public key can be mistaken for one (RFC 8725 3.1).
"""
MINIMUM_RSA_BITS = 2048
"""RFC 7518 3.3."""


class IdToken(msgspec.Struct, frozen=True):
    """The claims of an ID token, and the digest by which it is remembered."""

    claims: Claims
    digest: str
    """SHA-256 of what is signed, in hex. The signature is no part of it: some can be written in two ways."""

    def __repr__(self) -> str:
        return f"IdToken(digest={self.digest!r})"

    @property
    def issuer(self) -> str:
        """The issuer, which is in the policy."""
        return str(self.claims["iss"])


def fits(jwk: Claims, algorithm: str) -> bool:
    """Return whether a JSON Web Key (RFC 7517 4) may verify signatures of an algorithm of ALGORITHMS."""
    kind, curve = ALGORITHMS[algorithm]
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("kty") == kind
        and (not curve or jwk.get("crv") == curve)
        and jwk.get("use", "sig") == "sig"
        and jwk.get("alg", algorithm) == algorithm
        and isinstance(operations, list)
        and "verify" in operations
    )
