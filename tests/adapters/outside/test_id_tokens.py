"""Signatures of ID tokens, by real keys of an issuer on this machine."""

import base64
import hashlib
import hmac
import json
import time
import warnings
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from gateway.adapters.outside.documents import MAXIMUM_BYTES, fetch_document
from gateway.adapters.outside.id_tokens import IdTokens
from gateway.adapters.outside.key_sets import DISCOVERY, KeySets, read_issuer
from gateway.adapters.upstream.pool import HttpUpstreams
from gateway.core.errors import IssuerUnavailable
from gateway.core.trust.checking import ClaimMistake
from gateway.core.trust.id_token import ALGORITHMS, IdToken
from tests.support.issuer import KEYS, Issuer, publish


@pytest.fixture
async def upstreams() -> AsyncIterator[HttpUpstreams]:
    running = HttpUpstreams()
    yield running
    await running.close()


@pytest.fixture
def id_tokens(upstreams: HttpUpstreams) -> IdTokens:
    return IdTokens(KeySets(partial(read_issuer, partial(fetch_document, upstreams)), time.monotonic))


def encode(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def mistake_of(id_tokens: IdTokens, text: str, issuer: Issuer) -> str:
    """The claim for which an ID token is refused."""
    found = await id_tokens.verify(text, {issuer.url})
    assert isinstance(found, ClaimMistake), found
    assert len(text) < 20 or text not in str(found)
    return found.claim


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_each_algorithm_is_taken(id_tokens: IdTokens, algorithm: str) -> None:
    """Of the claims nothing is lost; what is remembered is the digest of what is signed."""
    with Issuer() as issuer:
        issuer.add_key("key", algorithm)
        text = issuer.sign("key")
        found = await id_tokens.verify(text, {issuer.url})
        assert isinstance(found, IdToken)
        assert ("acme/website", issuer.url) == (found.claims["repository"], found.issuer)
        assert hashlib.sha256(text.rpartition(".")[0].encode()).hexdigest() == found.digest
        assert "acme" not in repr(found)


async def test_no_public_key_is_taken_for_a_secret(id_tokens: IdTokens) -> None:
    """A text signed by HMAC with the issuer's public key is no ID token (RFC 8725 2.1), nor one without any."""
    with Issuer() as issuer:
        public = issuer.keys["first"][0].public_key()
        pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        signed = f"{encode({'alg': 'HS256', 'kid': 'first'})}.{encode(issuer.claims())}"
        forged = f"{signed}.{encode(hmac.digest(pem, signed.encode(), 'sha256'))}"
        assert "alg" == await mistake_of(id_tokens, forged, issuer)
        for algorithm in ("none", "None", "PS256", "RS1", "", None, 5, ["RS256"]):
            unsigned = f"{encode({'alg': algorithm, 'kid': 'first'})}.{encode(issuer.claims())}."
            assert await mistake_of(id_tokens, unsigned, issuer) in ("alg", "format")
        assert [] == issuer.asked


async def test_an_algorithm_needs_a_key_of_its_own_kind(id_tokens: IdTokens) -> None:
    """The header chooses neither another algorithm than the key's, nor a key of its own."""
    with Issuer() as issuer:
        issuer.add_key("curve", "ES256")
        key = issuer.keys["first"][0]
        other = rsa.generate_private_key(65537, 2048)
        as_other = jwt.encode(issuer.claims(), key, "RS512", headers={"kid": "first"})
        as_curve = jwt.encode(issuer.claims(), key, "RS256", headers={"kid": "curve"})
        with_own_key = jwt.encode(
            issuer.claims(), other, "RS256", headers={"kid": "first", "jwk": publish(other, "RS256", "first")}
        )
        elsewhere = jwt.encode(
            issuer.claims(), other, "RS256", headers={"kid": "other", "jku": "http://127.0.0.1:9/keys"}
        )
        found = [await mistake_of(id_tokens, text, issuer) for text in (as_other, as_curve, with_own_key, elsewhere)]
        assert ["kid", "kid", "signature", "kid"] == found


async def test_published_keys_that_verify_nothing_are_not_used(id_tokens: IdTokens) -> None:
    """Secrets, short RSA keys, keys for encryption, and what is no key."""
    with Issuer() as issuer:
        short = rsa.generate_private_key(65537, 1024)
        secret = {"kty": "oct", "kid": "secret", "k": encode(b"x" * 64), "alg": "HS256"}
        encrypting = {**publish(issuer.keys["first"][0], "RS256", "encrypting"), "use": "enc"}
        broken = {"kty": "RSA", "kid": "broken", "n": "AQAB", "e": "!"}
        issuer.publish_keys(publish(short, "RS256", "short"), secret, encrypting, broken)
        key = issuer.keys["first"][0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions of PyJWT warn of short keys
            weak = jwt.encode(issuer.claims(), short, "RS256", headers={"kid": "short"})
        texts = {
            "short": weak,
            "secret": jwt.encode(issuer.claims(), "x" * 64, "HS256", headers={"kid": "secret"}),
            "encrypting": jwt.encode(issuer.claims(), key, "RS256", headers={"kid": "encrypting"}),
            "broken": jwt.encode(issuer.claims(), key, "RS256", headers={"kid": "broken"}),
        }
        found = {kid: await mistake_of(id_tokens, text, issuer) for kid, text in texts.items()}
        assert {"short": "signature", "secret": "alg", "encrypting": "kid", "broken": "signature"} == found


async def test_a_changed_claim_is_refused(id_tokens: IdTokens) -> None:
    """So is a signature of another ID token, and one without any."""
    with Issuer() as issuer:
        header, payload, signature = issuer.sign().split(".")
        other = issuer.sign(repository="evil/website").split(".")
        changed = encode(issuer.claims(repository="evil/website"))
        for text in (
            f"{header}.{changed}.{signature}",
            f"{header}.{payload}.{other[2]}",
            f"{header}.{payload}.",
            f"{header}.{payload}.{signature[:-4]}AAAA",
        ):
            assert "signature" == await mistake_of(id_tokens, text, issuer)


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", "é", "x" * 20_000, encode(b"[]") + ".e30.AA", encode({}) + ".W10.AA"],
)
async def test_what_is_no_jwt_is_refused(id_tokens: IdTokens, text: str) -> None:
    """Without a request to anybody."""
    with Issuer() as issuer:
        await mistake_of(id_tokens, text, issuer)
        assert [] == issuer.asked


async def test_only_issuers_of_the_policy_are_asked(id_tokens: IdTokens) -> None:
    """An ID token cannot make the gateway send a request anywhere, whatever its issuer is called."""
    with Issuer() as issuer, Issuer() as other:
        for name in (other.url, issuer.url + "/", issuer.url.upper(), None):
            assert "iss" == await mistake_of(id_tokens, other.sign(iss=name), issuer)
        assert [] == issuer.asked == other.asked


async def test_what_the_gateway_does_not_understand_is_refused(id_tokens: IdTokens) -> None:
    """A header that has to be understood (RFC 7515 4.1.11), or one without a key."""
    with Issuer() as issuer:
        critical = issuer.sign(headers={"crit": ["exp"], "exp": 1})
        nameless = jwt.encode(issuer.claims(), issuer.keys["first"][0], "RS256")
        assert await mistake_of(id_tokens, critical, issuer) in ("alg", "format")
        assert "kid" == await mistake_of(id_tokens, nameless, issuer)


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}, b"{}"),
        (200, {}, b"not json"),
        (200, {}, b"[]"),
        (200, {}, b'{"a":' * 100_000),
        (200, {}, b" " * (MAXIMUM_BYTES + 1)),
        (200, {"Transfer-Encoding": "chunked"}, b"zz\r\n"),
    ],
)
async def test_an_issuer_with_another_answer_is_away(
    id_tokens: IdTokens, answer: tuple[int, dict[str, str], bytes]
) -> None:
    """Its ID tokens are neither good nor bad: nobody can tell, and the message names the place."""
    with Issuer() as issuer:
        issuer.documents[DISCOVERY] = answer
        with pytest.raises(IssuerUnavailable, match=r"127\.0\.0\.1"):
            await id_tokens.verify(issuer.sign(), {issuer.url})


async def test_redirects_are_not_followed(id_tokens: IdTokens) -> None:
    """A document comes from the place that the policy names, or from nowhere."""
    with Issuer() as issuer, Issuer() as other:
        issuer.documents[KEYS] = (302, {"Location": other.url + KEYS}, b"")
        with pytest.raises(IssuerUnavailable, match="redirects are not followed"):
            await id_tokens.verify(issuer.sign(), {issuer.url})
        assert [] == other.asked


@pytest.mark.parametrize("url", ["http://keys.example/keys", "file:///etc/passwd", "keys", "http://10.0.0.1/"])
async def test_keys_come_by_https(id_tokens: IdTokens, url: str) -> None:
    """Whatever the discovery document says, they are not fetched without TLS, but from this machine."""
    with Issuer() as issuer:
        issuer.serve(DISCOVERY, {"issuer": issuer.url, "jwks_uri": url})
        with pytest.raises(IssuerUnavailable, match="https only"):
            await id_tokens.verify(issuer.sign(), {issuer.url})


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:99999/keys",
        "https://127.0.0.1:-1/keys",
        "https://127.0.0.1:keys/",
        "https://\xe9.invalid/keys",
        "https://keys.invalid/\xe9",
        "https://keys.invalid/\r\nX-Evil: 1",
        "https://keys.invalid/a b",
        "https://[::1/keys",
    ],
)
async def test_a_place_that_is_no_url_is_no_verdict(id_tokens: IdTokens, url: str) -> None:
    """Whatever a discovery document names, the answer is that nobody can tell, and it stays so for a while."""
    with Issuer() as issuer:
        issuer.serve(DISCOVERY, {"issuer": issuer.url, "jwks_uri": url})
        for _ in range(2):
            with pytest.raises(IssuerUnavailable, match="is no URL") as raised:
                await id_tokens.verify(issuer.sign(), {issuer.url})
            assert str(raised.value).isprintable()
        assert [DISCOVERY] == issuer.asked


async def test_an_issuer_that_is_not_there_is_away(id_tokens: IdTokens) -> None:
    """A connection that is refused is no verdict."""
    with Issuer() as issuer:
        text = issuer.sign()
    with pytest.raises(IssuerUnavailable):
        await id_tokens.verify(text, {issuer.url})


async def test_keys_without_an_algorithm_are_used_as_the_header_says(id_tokens: IdTokens) -> None:
    """`alg` is optional in a key (RFC 7517 4.4); its type still has to fit."""
    with Issuer() as issuer:
        key = issuer.keys["first"][0]
        plain = {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "plain"}
        issuer.publish_keys(plain)
        text = jwt.encode(issuer.claims(), key, "RS384", headers={"kid": "plain"})
        assert isinstance(await id_tokens.verify(text, {issuer.url}), IdToken)
