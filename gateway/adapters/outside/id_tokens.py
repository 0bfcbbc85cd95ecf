"""Verify the signatures of ID tokens with PyJWT. Their claims are checked in core/trust/checking.py.

Rule: nothing of an ID token is believed before its signature is verified, but which issuer and which key to verify it
with: the issuer must be one of the policy's, and the key one of the issuer's that fits the algorithm.
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from jwt import PyJWK, PyJWS
from jwt.exceptions import PyJWTError

from gateway.adapters.outside.key_sets import KeySets
from gateway.core.trust.checking import MAXIMUM_SHOWN, NO_TRUST, ClaimMistake
from gateway.core.trust.id_token import ALGORITHMS, MAXIMUM_TOKEN_LENGTH, MINIMUM_RSA_BITS, IdToken, fits

NO_TOKEN = "The subject_token is no signed JWT of an algorithm that the gateway takes."
NO_SIGNATURE = "The signature of the ID token is not valid."
_SIGNATURES = PyJWS(list(ALGORITHMS))


class IdTokens:
    """The verification of ID tokens."""

    def __init__(self, key_sets: KeySets) -> None:
        self._key_sets = key_sets

    async def verify(self, text: str, issuers: Collection[str]) -> IdToken | ClaimMistake:
        """Return the ID token if one of `issuers` has signed it, else what is wrong. Raise IssuerUnavailable."""
        if len(text) > MAXIMUM_TOKEN_LENGTH or not text.isascii():
            return ClaimMistake("length", str(len(text)), "it is too long, or no ASCII", NO_TOKEN)
        try:
            unverified = _SIGNATURES.decode_complete(text, options={"verify_signature": False})
            claims = msgspec.json.decode(unverified["payload"], type=dict[str, Any])
        except (PyJWTError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            return ClaimMistake("format", "", "it is no JWT", NO_TOKEN)
        header: Mapping[str, Any] = unverified["header"]
        algorithm, kid, issuer = header.get("alg"), header.get("kid"), claims.get("iss")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or "crit" in header:
            return _mistake("alg", algorithm, f"taken are {', '.join(ALGORITHMS)}, without crit", NO_TOKEN)
        if not isinstance(issuer, str) or issuer not in issuers:
            return _mistake("iss", issuer, f"trusted are {', '.join(sorted(issuers))}", NO_TRUST)
        if not isinstance(kid, str):
            return _mistake("kid", kid, "it names no key", NO_TOKEN)
        keys = [key for key in await self._key_sets.find_keys(issuer, kid) if fits(key, algorithm)]
        if not keys:
            return _mistake("kid", kid, f"the issuer has no such key for {algorithm}", NO_SIGNATURE)
        if not _is_signed(text, keys[0], algorithm):
            return _mistake("signature", kid, "it does not fit the key that kid names", NO_SIGNATURE)
        return IdToken(claims, hashlib.sha256(text.rpartition(".")[0].encode()).hexdigest())


def _is_signed(text: str, jwk: Mapping[str, Any], algorithm: str) -> bool:
    """Return whether the signature is that of the key, which must be one that can be used."""
    try:
        key = PyJWK(dict(jwk), algorithm=algorithm)
        if getattr(key.key, "key_size", MINIMUM_RSA_BITS) < MINIMUM_RSA_BITS and key.key_type == "RSA":
            return False
        _SIGNATURES.decode_complete(text, key, algorithms=[algorithm])
    except (PyJWTError, ValueError, TypeError):  # cryptography's own for numbers that are no key
        return False
    return True


def _mistake(claim: str, value: object, problem: str, told: str) -> ClaimMistake:
    return ClaimMistake(claim, repr(value)[:MAXIMUM_SHOWN], problem, told)
