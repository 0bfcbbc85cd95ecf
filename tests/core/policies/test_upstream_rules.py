"""What a policy says of its backend."""

from pathlib import Path

import msgspec
import pytest

from gateway.core.errors import ConfigurationError
from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import FieldEdits, HealthCheck, Rewrite, Tls, Upstream
from gateway.core.policies.reading import Mistake
from gateway.core.policies.schema import UpstreamTable

POLICY = """
name = "small"
upstream = {upstream}
[token]
prefixes = ["sml_"]
[[rules]]
match = "* /**"
"""


def compile_upstream(written: str, replacement: str | None = None) -> Upstream:
    replacements = {"small": replacement} if replacement else {}
    return load_policies({"small.toml": POLICY.format(upstream=written)}, replacements).policies["small"].upstream


FULL = """
name = "small"
token = { prefixes = ["sml_"] }
rules = [{ match = "* /**" }]

[upstream]
targets = ["https://a:1/base/", "unix:/run/b.sock"]
host = "app.example:8443"
pass_fields = ["X-Real-IP", "X-Forwarded-Port"]
connect_timeout = "1s"
response_timeout = "2s"
idle_timeout = "3m"
total_timeout = "1h"
max_connections = 10
max_waiting = 0
retries = 0
health = { path = "/health?deep=1", interval = "10s", timeout = "4s" }
tls = { ca = "/ca.pem", certificate = "/both.pem", server_name = "b.example" }
rewrite = { prefix = "/api/v1", replacement = "/v2/" }
forwarded = true
new_trace = "none"
assertion = { audience = "shop" }
request_headers = { set = { X-Env = "prod" }, remove = ["Cookie"] }
response_headers = { remove = ["Server", "RateLimit"] }
"""


def test_everything_that_can_be_said() -> None:
    """Times in seconds, names of fields in lower case, paths by their segments."""
    expected = Upstream(
        targets=("https://a:1/base", "unix:/run/b.sock"),
        connect_timeout_seconds=1,
        response_timeout_seconds=2,
        idle_timeout_seconds=180,
        total_timeout_seconds=3600,
        max_connections=10,
        max_waiting=0,
        retries=0,
        host="app.example:8443",
        pass_fields=frozenset({b"x-real-ip", b"x-forwarded-port"}),
        health=HealthCheck("/health?deep=1", 10, 4),
        tls=Tls("/ca.pem", "/both.pem", "", "b.example"),
        rewrite=Rewrite(("api", "v1"), "/v2"),
        sends_forwarded=True,
        new_trace="none",
        audience="shop",
        request_edits=FieldEdits(frozenset({b"cookie", b"xenv"}), ((b"x-env", b"prod"),)),
        response_edits=FieldEdits(frozenset({b"server", b"ratelimit"}), ()),
    )
    assert expected == load_policies({"small.toml": FULL}).policies["small"].upstream


RULES = """
[[rules]]
match = "GET /events"
idle_timeout = "1h"
[[rules]]
match = "GET /poll"
response_timeout = "2m"
"""


@pytest.mark.parametrize("written", ['"http://a"', '{ url = "http://a" }'])
def test_a_backend_has_a_minute_to_begin_and_five_to_go_on(written: str) -> None:
    """By default long polls of a minute and streams with rare events pass."""
    upstream = compile_upstream(written)
    assert 60 == upstream.response_timeout_seconds
    assert 300 == upstream.idle_timeout_seconds


def test_a_rule_may_have_times_of_its_own() -> None:
    """What it does not say is the policy's, and so is all else of the backend."""
    upstream = '{ url = "http://a", response_timeout = "3s", idle_timeout = "4s", retries = 1 }'
    policies = load_policies({"small.toml": POLICY.format(upstream=upstream) + RULES})
    found = {rule.pattern.path: rule.upstream for rule in policies.rules_of("small")}
    own = policies.policies["small"].upstream
    assert {
        "/**": own,
        "/events": msgspec.structs.replace(own, idle_timeout_seconds=3600),
        "/poll": msgspec.structs.replace(own, response_timeout_seconds=120),
    } == found


def test_a_replacement_takes_the_place_of_all_targets() -> None:
    """The rest of the table stays."""
    upstream = compile_upstream('{ targets = ["http://a", "http://b"], retries = 1 }', "http://other:1/")
    assert Upstream(("http://other:1",), retries=1, host="client") == upstream


@pytest.mark.parametrize("host", ["client", "target", "app.example", "app.example:81", "[::1]", "[::1]:8080"])
def test_the_host_is_the_clients_the_targets_or_a_name(host: str) -> None:
    """With or without a port."""
    assert host == compile_upstream(f'{{ url = "http://a", host = "{host}" }}').host


@pytest.mark.parametrize("host", ["App.example", "app.example/", "a:b", "http://a", "a:70000", "", "::1"])
def test_a_host_that_is_none_is_a_mistake(host: str) -> None:
    """No backend could be asked with it."""
    with pytest.raises(ConfigurationError, match=r"\$\.upstream\.host: "):
        compile_upstream(f'{{ url = "http://a", host = "{host}" }}')


def test_by_default_a_backend_gets_the_clients_host() -> None:
    """It builds its links and redirects from it."""
    assert "client" == compile_upstream('"http://a"').host
    assert "client" == compile_upstream('"none"').host


def test_there_may_be_no_backend() -> None:
    """Where an app or another proxy answers; a replacement is one all the same. Inside of a table `none` is no URL."""
    assert () == compile_upstream('"none"').targets
    assert ("http://other:1",) == compile_upstream('"none"', "http://other:1/").targets
    with pytest.raises(ConfigurationError, match="is not a URL"):
        compile_upstream('{ url = "none" }')


@pytest.mark.parametrize(("prefix", "segments"), [("/", ()), ("/api/", ("api",)), ("/a/b-c", ("a", "b-c"))])
def test_prefixes_are_whole_segments(prefix: str, segments: tuple[str, ...]) -> None:
    """With and without a slash at the end; without a replacement they are stripped."""
    assert (
        Rewrite(segments, "")
        == compile_upstream(f'{{ url = "http://a", rewrite = {{ prefix = "{prefix}" }} }}').rewrite
    )


@pytest.mark.parametrize(("written", "audience"), [("true", ""), ("false", None), ('{ audience = "a" }', "a")])
def test_assertions_may_name_whom_they_are_for(written: str, audience: str | None) -> None:
    """`true` names nobody; without the key a backend gets none."""
    assert audience == compile_upstream(f'{{ url = "http://a", assertion = {written} }}').audience
    assert compile_upstream('"http://a"').audience is None


def test_secrets_for_the_backend_are_in_no_repr() -> None:
    """What a policy sets may be a password between gateway and backend."""
    upstream = compile_upstream(
        '{ url = "http://a", request_headers = { set = { Authorization = "Basic c2VjcmV0" } } }'
    )
    assert "authorization" in repr(upstream)
    assert "c2VjcmV0" not in repr(upstream)


def test_the_files_of_tls_are_looked_at_by_who_can(tmp_path: Path) -> None:
    """Core asks for what is wrong with them, and tells it with its place."""
    text = POLICY.format(upstream='{ url = "https://a", tls = { ca = "/none.pem" } }')
    with pytest.raises(ConfigurationError) as caught:
        look = lambda upstream: Mistake("$.upstream.tls", f"{upstream.tls.ca} is not there")  # noqa: E731
        load_policies({"small.toml": text}, None, look)
    assert ("small.toml: $.upstream.tls: /none.pem is not there",) == caught.value.mistakes


def test_the_example_shows_every_key() -> None:
    """What policies/example.toml has in comments is a table that can be used, with all that can be said."""
    example = (Path(__file__).parents[3] / "policies" / "example.toml").read_text(encoding="utf-8")
    lines = example.partition("# [upstream]\n")[2].partition("\n\n")[0].splitlines()
    shown = [line.removeprefix("# ") for line in lines]
    keys = {field.name for field in msgspec.structs.fields(UpstreamTable)}
    assert keys == {line.partition(" =")[0] for line in shown}
    head = FULL.partition("[upstream]")[0]
    text = "\n".join([head, "[upstream]", *(line for line in shown if not line.startswith(("url", "tls")))])
    assert 2 == len(load_policies({"small.toml": text}).policies["small"].upstream.targets)
