"""The URL of a store behind Sentinels: several hosts, the name of the service, and the number of the database.

    redis+sentinel://USER:PASSWORD@HOST1:PORT,HOST2,HOST3/SERVICE/DATABASE?OPTIONS

User and password are Redis' own; `rediss+sentinel` is TLS, to Sentinels as to Redis.
"""

import re

import msgspec

SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
"""Each scheme of a store behind Sentinels, with that of the servers behind them."""
SENTINEL_PORT = 26379
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:,/]+)(?::([0-9]{1,5}))?")
FORM = "redis+sentinel://HOST1,HOST2,HOST3/SERVICE/0"


class SentinelStore(msgspec.Struct, frozen=True):
    """What the URL says. Its repr has no password."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    url: str
    """A URL of redis-py with user, password, database and options; its host stands for nothing."""

    def __repr__(self) -> str:
        return f"SentinelStore({self.describe()!r})"

    def describe(self) -> str:
        """Return where the store is, in words, without user, password or options."""
        return f"{self.service} of the Sentinels {', '.join(f'{host}:{port}' for host, port in self.sentinels)}"


def is_behind_sentinels(url: str) -> bool:
    """Return whether the URL is of a store behind Sentinels."""
    return url.partition("://")[0] in SCHEMES


def parse_sentinel_url(url: str) -> SentinelStore:
    """Return what the URL says. Raise ValueError, without the URL's password, if it has another form."""
    scheme, _, rest = url.partition("://")
    rest, question, options = rest.partition("?")
    credentials, at, place = rest.rpartition("@")
    hosts, _, path = place.partition("/")
    service, _, database = path.partition("/")
    if not service or "/" in database or not (database or "0").isdecimal():
        raise ValueError(f"{scheme}://{place} is not {FORM}")
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    if not all(found):
        raise ValueError(f"{hosts!r} is no list of Sentinels, such as in {FORM}")
    sentinels = tuple((match[1].strip("[]"), int(match[2] or SENTINEL_PORT)) for match in found if match)
    return SentinelStore(
        sentinels, service, f"{SCHEMES[scheme]}://{credentials}{at}{service}/{database or 0}{question}{options}"
    )
