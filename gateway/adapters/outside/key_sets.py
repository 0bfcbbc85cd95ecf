"""The keys of issuers, fetched and remembered: JSON Web Keys (RFC 7517 5) and those of GitHub's leak reports.

Rule 1: a key that is not known yet makes the issuer be asked again, but only once in MINIMUM_PAUSE_SECONDS: ID tokens
with made-up keys cost no requests.
Rule 2: several that need the keys of one issuer wait for one request.
Rule 3: an issuer that is away does not stop jobs whose keys are known. They are used for MAXIMUM_STALE_SECONDS; then
nobody can tell whether the issuer has withdrawn them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from gateway.core.errors import IssuerUnavailable

FRESH_SECONDS = 3600
"""Seconds after which keys are fetched again."""
MAXIMUM_STALE_SECONDS = 24 * 3600
MINIMUM_PAUSE_SECONDS = 10
"""Seconds between two requests for the keys of one issuer, whatever asks for them and whether they come or not."""
MAXIMUM_KEYS = 100
UNFINISHED = "the last request for the keys did not end; if this lasts, the log has an internal error"
DISCOVERY = "/.well-known/openid-configuration"

Keys = Mapping[str, tuple[Mapping[str, Any], ...]]
"""By `kid`: JSON Web Keys, of which several may have one id if they are of different types (RFC 7517 4.5)."""
Fetch = Callable[[str], Awaitable[dict[str, Any]]]
"""Returns the JSON document at a URL; raises IssuerUnavailable."""

logger = logging.getLogger(__name__)


class _Known(msgspec.Struct):
    """What is known of one issuer. Times are those of the clock that KeySets has; None means never."""

    keys: Keys = {}
    fetched_at: float | None = None
    tried_at: float | None = None
    problem: str = ""
    """Why the last request for the keys failed; empty only if it did not. Who finds no key then is no forger."""


class KeySets:
    """The keys of issuers, by their URLs. `read` fetches those of one; `clock` gives seconds that only grow."""

    def __init__(self, read: Callable[[str], Awaitable[Keys]], clock: Callable[[], float]) -> None:
        self._read_keys = read
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._fetching: dict[str, asyncio.Task[None]] = {}

    async def find_keys(self, issuer: str, kid: str) -> tuple[Mapping[str, Any], ...]:
        """Return the issuer's keys of an id; empty if it has none. Raise IssuerUnavailable if nobody can tell."""
        known = self._known.setdefault(issuer, _Known())
        if kid not in known.keys or self._age(known.fetched_at) >= FRESH_SECONDS:
            await self._renew(issuer, known)
        age = self._age(known.fetched_at)
        if known.problem and (age >= MAXIMUM_STALE_SECONDS or kid not in known.keys):
            raise IssuerUnavailable(known.problem)
        return known.keys.get(kid, ())

    async def close(self) -> None:
        """Cancel the requests in progress."""
        for task in self._fetching.values():
            task.cancel()
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)

    def _age(self, moment: float | None) -> float:
        return float("inf") if moment is None else self._clock() - moment

    async def _renew(self, issuer: str, known: _Known) -> None:
        """Fetch the keys unless that was tried a moment ago; wait for a request that is in progress."""
        task = self._fetching.get(issuer)
        if task is None:
            if self._age(known.tried_at) < MINIMUM_PAUSE_SECONDS:
                return
            task = self._fetching[issuer] = asyncio.get_running_loop().create_task(self._read(issuer, known))
            task.add_done_callback(lambda _: self._fetching.pop(issuer, None))
        await asyncio.shield(task)  # a client that leaves does not cancel it for the others

    async def _read(self, issuer: str, known: _Known) -> None:
        known.tried_at, known.problem = self._clock(), UNFINISHED
        try:
            known.keys = await self._read_keys(issuer)
            known.fetched_at, known.problem = self._clock(), ""
        except IssuerUnavailable as error:
            known.problem = str(error)
            logger.warning("keys of the issuer %s: %s; known keys are used for a day", issuer, error)


async def read_issuer(fetch: Fetch, issuer: str) -> Keys:
    """Return the keys of an issuer by its discovery document. Raise IssuerUnavailable."""
    url = issuer + DISCOVERY
    discovery = await fetch(url)
    if discovery.get("issuer") != issuer:  # OpenID Connect Discovery 4.3
        raise IssuerUnavailable(f"{url}: the document is about the issuer {str(discovery.get('issuer'))[:200]!r}")
    place = discovery.get("jwks_uri")
    if not isinstance(place, str):
        raise IssuerUnavailable(f"{url}: the document has no jwks_uri")
    if issuer.startswith("https:") and not place.startswith("https:"):  # http is for issuers of this machine
        raise IssuerUnavailable(f"{url}: its jwks_uri {place[:200]!r} is no https URL")
    return _list_keys(place, await fetch(place), "keys", "kid")


async def read_leak_keys(fetch: Fetch, url: str) -> Keys:
    """Return the keys of leak reports, as GitHub shows them at a URL. Raise IssuerUnavailable."""
    return _list_keys(url, await fetch(url), "public_keys", "key_identifier")


def _list_keys(url: str, document: Mapping[str, Any], member: str, name: str) -> Keys:
    listed = document.get(member)
    if not isinstance(listed, list) or len(listed) > MAXIMUM_KEYS:
        raise IssuerUnavailable(f"{url}: no list of at most {MAXIMUM_KEYS} keys")
    found: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for key in listed:
        if isinstance(key, dict) and isinstance(key.get(name), str):
            found[key[name]] = (*found.get(key[name], ()), key)
    return found
