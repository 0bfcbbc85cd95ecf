"""Admin tokens as the public listener meets them: they are nobody's."""

from pathlib import Path

from tests.support.client import ask
from tests.support.command_line import run_json
from tests.system.conftest import Share


def test_an_admin_token_is_never_valid_on_proxied_traffic(share: Share, redis_url: str, policies: Path) -> None:
    """401, also under a policy whose tokens look the same, and at the gateway's own addresses."""
    file = policies / "system.toml"
    file.write_text(file.read_text().replace('["sys_"]', '["sys_", "gwa_"]'))
    where = ("--policies", str(policies), "--redis", redis_url)
    text = run_json("token", "create", "--admin", "--name", "ops", *where)["token"]
    gateway = share()
    for path, status, code in (
        ("/api/v1/whoami", 401, "invalid_token"),
        ("/-/whoami", 401, "invalid_token"),
        ("/-/authorize/envoy/api/v1/whoami", 403, "untrusted_proxy"),
    ):
        answer = ask(gateway.port, "GET", path, token=text)
        assert status == answer.status
        assert code == answer.json()["code"]
