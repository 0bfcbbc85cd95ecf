"""The gateway's own addresses on the public listener. All others are the backends', even with the same prefix."""

import re

import msgspec

DEFAULT_PREFIX = "/-"
HEALTH = "health"
READY = "ready"
WHOAMI = "whoami"
KEYS = "jwks.json"
TOKEN_EXCHANGE = "token-exchange"
LEAKS = "leaks/github"
TAKING = frozenset({TOKEN_EXCHANGE, LEAKS})
"""Addresses that take content, from anybody: a full worker refuses them like any request."""
AUTHORIZE = "authorize"
"""Everything below this address is the gateway's: a mistaken question must not get a backend's answer."""

# Segments of unreserved characters (RFC 3986 2.3), and no dot segments.
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")


class OwnAddresses(msgspec.Struct, frozen=True):
    """The own addresses under `prefix`, which begins with a slash and does not end with one."""

    prefix: str = DEFAULT_PREFIX

    def path(self, name: str) -> str:
        """Return the path of one of them."""
        return f"{self.prefix}/{name}"

    def find(self, segments: tuple[str, ...]) -> str | None:
        """Return which address the decoded segments of a path are, or None for the path of a backend."""
        own = tuple(self.prefix[1:].split("/"))
        below = segments[len(own) :]
        if segments[: len(own)] != own:
            return None
        if below[:1] == (AUTHORIZE,):
            return AUTHORIZE
        name = "/".join(below)
        return name if name in (HEALTH, READY, WHOAMI, KEYS, TOKEN_EXCHANGE, LEAKS) else None


DEFAULT = OwnAddresses()


def parse_prefix(text: str) -> OwnAddresses:
    """Return the addresses under a prefix. Raise ValueError that says what is wrong with it."""
    if _PREFIX.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no path such as {DEFAULT_PREFIX} or /_gateway, without a slash at its end")
    return OwnAddresses(text)
