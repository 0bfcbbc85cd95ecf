"""Admin tokens as the public listener meets them: they are nobody's."""

from pathlib import Path

import pytest

from tests.support.client import ask
from tests.support.command_line import run_json
from tests.system.conftest import Serve

pytestmark = pytest.mark.redis


def test_an_admin_token_is_never_valid_on_proxied_traffic(serve: Serve, redis_url: str, policies: Path) -> None:
    """401, also under a policy whose tokens look the same, and at the gateway's own addresses."""
    file = policies / "system.toml"
    file.write_text(file.read_text().replace('["sys_"]', '["sys_", "gwa_"]'))
    where = ("--policies", str(policies), "--redis", redis_url)
    text = run_json("token", "create", "--admin", "--name", "ops", *where)["token"]
    gateway = serve(redis_url)
    for path in ("/api/v1/whoami", "/-/whoami", "/-/authorize/envoy/api/v1/whoami"):
        answer = ask(gateway.port, "GET", path, token=text)
        assert (401, "invalid_token") == (answer.status, answer.json()["code"]) or "authorize" in path
        assert 200 != answer.status
