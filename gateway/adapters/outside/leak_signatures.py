"""Verify the signatures of GitHub's leak reports: ECDSA with P-256 and SHA-256 over the content as it came."""

from base64 import b64decode
from binascii import Error

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.adapters.outside.key_sets import KeySets


class LeakSignatures:
    """The signatures of reports. The keys are at `url`, and are fetched again if a key is unknown."""

    def __init__(self, key_sets: KeySets, url: str) -> None:
        self._key_sets = key_sets
        self._url = url

    async def is_signed(self, content: bytes, identifier: str, signature: str) -> bool:
        """Return whether the key of this identifier has signed the content. Raise IssuerUnavailable."""
        try:
            signed = b64decode(signature, validate=True)
        except (Error, ValueError):
            return False
        keys = await self._key_sets.find_keys(self._url, identifier)
        return any(_verifies(str(key.get("key", "")), signed, content) for key in keys)


def _verifies(pem: str, signature: bytes, content: bytes) -> bool:
    try:
        key = load_pem_public_key(pem.encode())
        if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
            return False
        key.verify(signature, content, ECDSA(SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True
