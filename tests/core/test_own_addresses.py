"""Which addresses of the public listener are the gateway's own."""

import pytest

from gateway.core.http.targets import parse_path
from gateway.core.own_addresses import DEFAULT, OwnAddresses, parse_prefix


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/-/health", "health"),
        ("/-/ready", "ready"),
        ("/-/whoami", "whoami"),
        ("/-/jwks.json", "jwks.json"),
        ("/-/token-exchange", "token-exchange"),
        ("/-/leaks/github", "leaks/github"),
        ("/-/leaks", None),
        ("/-/leaks/github/", None),
        ("/-/leaks/gitlab", None),
        ("/%2D/he%61lth", "health"),
        ("/-/authorize", "authorize"),
        ("/-/authorize/nginx", "authorize"),
        ("/-/authorize/envoy/a/b", "authorize"),
        ("/-/authorize/no-such-proxy", "authorize"),
        ("/-/static/app.css", None),
        ("/-/health/", None),
        ("/-/health/deep", None),
        ("/-/Health", None),
        ("/-", None),
        ("/-/", None),
        ("/", None),
        ("/health", None),
        ("/a/-/health", None),
    ],
)
def test_only_its_own_are_the_gateways(path: str, name: str | None) -> None:
    """What stands beside them is a backend's, however alike; another spelling of the same path is the same."""
    segments = parse_path(path)
    assert segments is not None
    assert name == DEFAULT.find(segments)


def test_the_prefix_moves_them() -> None:
    """Behind another one they are found, and where they were is a backend's then."""
    own = parse_prefix("/_gateway/own")
    assert "/_gateway/own/ready" == own.path("ready")
    assert "ready" == own.find(("_gateway", "own", "ready"))
    assert None is own.find(("-", "ready"))
    assert None is own.find(("_gateway", "ready"))


@pytest.mark.parametrize("prefix", ["/-", "/_gateway", "/a/b.c", "/~x"])
def test_a_prefix_is_a_plain_path(prefix: str) -> None:
    """Of one segment or several."""
    assert OwnAddresses(prefix) == parse_prefix(prefix)


@pytest.mark.parametrize(
    "prefix", ["", "/", "-", "/-/", "/a//b", "/..", "/.well-known", "/a b", "/a%2Db", "/a?b", "/-\n"]
)
def test_what_is_no_prefix_is_refused(prefix: str) -> None:
    """What could be read in two ways, would be everything, or belongs to others."""
    with pytest.raises(ValueError, match="is no path such as /-"):
        parse_prefix(prefix)
