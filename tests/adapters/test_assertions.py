"""Keys as operators write them, and signatures that others can verify."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import jwt
import msgspec
import pytest

from gateway.adapters.signing_keys import SigningKeys
from gateway.core.errors import ConfigurationError

RFC_8037_KEY = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
"""
"""The private key of RFC 8037 A.1."""


def make_key(algorithm: str = "ed25519", *options: str) -> str:
    command = ["openssl", "genpkey", "-algorithm", algorithm, *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_key_of_the_rfc_is_published_as_the_rfc_has_it() -> None:
    """RFC 8037 A.2 and A.3: the public key and its name, and nothing of the private one."""
    (key,) = SigningKeys(RFC_8037_KEY).published
    assert "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" == key.x
    assert "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" == key.kid
    assert "OKP" == key.kty
    assert "Ed25519" == key.crv
    assert {"x", "kid", "kty", "crv", "alg", "use"} == set(key.__struct_fields__)


def test_the_first_key_signs_and_all_are_published(tmp_path: Path) -> None:
    """A file of several; its order is the order of turns, and a key that is there twice is one."""
    first, second = make_key(), make_key()
    file = tmp_path / "keys.pem"
    file.write_text(f"the next one stands behind\n{first}{second}{first}")
    keys = SigningKeys(str(file))
    assert [SigningKeys(text).published[0] for text in (first, second)] == list(keys.published)
    token = keys.sign(b'{"sub":"x"}').decode()
    assert {"alg": "EdDSA", "typ": "JWT", "kid": keys.published[0].kid} == jwt.get_unverified_header(token)
    public = jwt.PyJWK(msgspec.structs.asdict(keys.published[0]))
    assert {"sub": "x"} == jwt.decode(token, public, algorithms=["EdDSA"])


@pytest.mark.parametrize("kind", ["rsa", "ed448", "public", "locked", "broken", "none", "absent"])
def test_what_cannot_sign_is_told_without_the_key(kind: str, tmp_path: Path) -> None:
    """Another kind of key, a public one, one with a password, no PEM, no file."""
    mine = tmp_path / "mine.pem"
    mine.write_text(make_key())
    public = ["openssl", "pkey", "-in", str(mine), "-pubout"]
    kinds: dict[str, Callable[[], str]] = {
        "rsa": lambda: make_key("rsa"),
        "ed448": lambda: make_key("ed448"),
        "public": lambda: subprocess.run(public, check=True, capture_output=True, text=True).stdout,
        "locked": lambda: make_key("ed25519", "-aes256", "-pass", "pass:hunter2"),
        "broken": lambda: RFC_8037_KEY.replace("MC4C", "MC4D"),
        "none": lambda: "/dev/null",
        "absent": lambda: "/nowhere/key.pem",
    }
    written = kinds[kind]()
    with pytest.raises(ConfigurationError, match=r"^assertion key: ") as refused:
        SigningKeys(written)
    assert all(line not in str(refused.value) for line in written.splitlines()[1:])


def test_no_key_is_in_a_repr() -> None:
    """Only the names of the public ones are."""
    keys = SigningKeys(RFC_8037_KEY)
    assert f"SigningKeys({keys.published[0].kid})" == repr(keys)
