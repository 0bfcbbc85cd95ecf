"""The keys of issuers: how often an issuer is asked, and what counts while it is away."""

import asyncio
from functools import partial
from typing import Any

import pytest

from gateway.adapters.outside.key_sets import (
    DISCOVERY,
    FRESH_SECONDS,
    MAXIMUM_KEYS,
    MAXIMUM_STALE_SECONDS,
    MINIMUM_PAUSE_SECONDS,
    Keys,
    KeySets,
    read_issuer,
)
from gateway.core.errors import IssuerUnavailable

ISSUER = "https://issuer.example"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Documents:
    """What the issuer serves, and what it was asked for."""

    def __init__(self, *kids: str) -> None:
        self.asked: list[str] = []
        self.is_away = False
        self.gate: asyncio.Event | None = None
        self.discovery: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
        self.keys: Any = [{"kid": kid} for kid in kids]

    async def __call__(self, url: str) -> dict[str, Any]:
        self.asked.append(url.removeprefix(ISSUER))
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise IssuerUnavailable(f"{url}: away")
        return self.discovery if url.endswith(DISCOVERY) else {"keys": self.keys}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def documents() -> Documents:
    return Documents("a")


@pytest.fixture
def key_sets(documents: Documents, clock: Clock) -> KeySets:
    return KeySets(partial(read_issuer, documents), clock)


async def test_known_keys_cost_no_request(key_sets: KeySets, documents: Documents, clock: Clock) -> None:
    """The issuer is asked once in an hour."""
    for _ in range(3):
        assert ({"kid": "a"},) == await key_sets.find_keys(ISSUER, "a")
    assert [DISCOVERY, "/keys"] == documents.asked
    clock.now += FRESH_SECONDS
    await key_sets.find_keys(ISSUER, "a")
    assert 4 == len(documents.asked)


async def test_a_new_key_is_found_at_once(key_sets: KeySets, documents: Documents, clock: Clock) -> None:
    """After a rotation the first ID token under the new key is good, and the old key no longer is."""
    await key_sets.find_keys(ISSUER, "a")
    clock.now += MINIMUM_PAUSE_SECONDS
    documents.keys = [{"kid": "b"}]
    assert ({"kid": "b"},) == await key_sets.find_keys(ISSUER, "b")
    assert () == await key_sets.find_keys(ISSUER, "a")


async def test_made_up_keys_cost_few_requests(key_sets: KeySets, documents: Documents, clock: Clock) -> None:
    """However many there are, the issuer is asked once in ten seconds."""
    for number in range(100):
        assert () == await key_sets.find_keys(ISSUER, f"made-up-{number}")
    assert 2 == len(documents.asked)
    clock.now += MINIMUM_PAUSE_SECONDS
    for number in range(100):
        assert () == await key_sets.find_keys(ISSUER, f"made-up-{number}")
    assert 4 == len(documents.asked)


async def test_several_wait_for_one_request(key_sets: KeySets, documents: Documents) -> None:
    """Also if the first of them leaves meanwhile."""
    documents.gate = asyncio.Event()
    waiting = [asyncio.create_task(key_sets.find_keys(ISSUER, "a")) for _ in range(5)]
    while not documents.asked:
        await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    documents.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [({"kid": "a"},)] * 4 == found[1:]
    assert isinstance(found[0], asyncio.CancelledError)
    assert [DISCOVERY, "/keys"] == documents.asked


async def test_an_issuer_that_is_away_stops_no_job_whose_key_is_known(
    key_sets: KeySets, documents: Documents, clock: Clock
) -> None:
    """For a day. A key that is not known cannot be told from a made-up one then: nobody can say."""
    await key_sets.find_keys(ISSUER, "a")
    documents.is_away = True
    clock.now += FRESH_SECONDS
    assert ({"kid": "a"},) == await key_sets.find_keys(ISSUER, "a")
    with pytest.raises(IssuerUnavailable):
        await key_sets.find_keys(ISSUER, "b")
    clock.now += MAXIMUM_STALE_SECONDS - FRESH_SECONDS
    with pytest.raises(IssuerUnavailable):
        await key_sets.find_keys(ISSUER, "a")
    documents.is_away = False
    clock.now += MINIMUM_PAUSE_SECONDS
    assert ({"kid": "a"},) == await key_sets.find_keys(ISSUER, "a")


async def test_an_issuer_that_is_away_is_not_asked_by_each(key_sets: KeySets, documents: Documents) -> None:
    """The pause holds for failed requests, too."""
    documents.is_away = True
    for _ in range(10):
        with pytest.raises(IssuerUnavailable, match="away"):
            await key_sets.find_keys(ISSUER, "a")
    assert [DISCOVERY] == documents.asked


@pytest.mark.parametrize(
    ("discovery", "keys"),
    [
        ({"issuer": "https://evil.example"}, []),
        ({"issuer": f"{ISSUER}/"}, []),
        ({"jwks_uri": None}, []),
        ({"jwks_uri": "http://127.0.0.1:8080/admin"}, []),
        ({"jwks_uri": "http://localhost/keys"}, []),
        ({}, None),
        ({}, [{"kid": str(number)} for number in range(MAXIMUM_KEYS + 1)]),
    ],
)
async def test_documents_of_another_form_are_not_believed(
    key_sets: KeySets, documents: Documents, discovery: dict[str, Any], keys: Any
) -> None:
    """A discovery document is about the very issuer (OpenID Connect Discovery 4.3) and leads to a list of keys."""
    documents.discovery |= discovery
    documents.keys = documents.keys if keys == [] else keys
    with pytest.raises(IssuerUnavailable):
        await key_sets.find_keys(ISSUER, "a")


async def test_keys_without_an_id_are_skipped(key_sets: KeySets, documents: Documents) -> None:
    """And what is no key at all; two keys may have one id."""
    documents.keys = [{"kty": "RSA"}, "key", {"kid": 7}, {"kid": "a", "kty": "RSA"}, {"kid": "a", "kty": "EC"}]
    assert ({"kid": "a", "kty": "RSA"}, {"kid": "a", "kty": "EC"}) == await key_sets.find_keys(ISSUER, "a")


async def test_a_request_that_breaks_is_no_verdict(clock: Clock) -> None:
    """After an internal error nobody knows the keys, so nobody is taken for a forger."""

    async def read(_: str) -> Keys:
        raise RuntimeError("internal")

    key_sets = KeySets(read, clock)
    with pytest.raises(RuntimeError):
        await key_sets.find_keys(ISSUER, "a")
    with pytest.raises(IssuerUnavailable):
        await key_sets.find_keys(ISSUER, "a")
