"""Changes that Redis has not confirmed to be on its disk, as the API tells them."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from litestar.testing import TestClient

from tests.admin.conftest import Mint, build_app, check_refusal, create
from tests.support.app_client import client_of
from tests.support.processes import RedisServer
from tests.support.scripted_redis import ScriptedRedis, scripted_redis

LATE = "did not confirm within 3 s that it is on its disk"
Call = Callable[[httpx.Client, str], httpx.Response]
CALLS: dict[str, Call] = {
    "revoke": lambda api, token: api.delete(f"/api/v1/tokens/{token}"),
    "revoke with all that it made": lambda api, token: api.post("/api/v1/revocations", json={"with_made": token}),
    "revoke many": lambda api, _: api.post("/api/v1/revocations", json={"policy": "small", "project": "website"}),
    "disable": lambda api, token: api.patch(
        f"/api/v1/tokens/{token}", json={"is_active": False}, headers={"If-Match": "*"}
    ),
    "block": lambda api, _: api.patch(
        "/api/v1/policies/small/owners/ada", json={"status": "blocked", "permissions": {"website": ["read"]}}
    ),
}


@pytest.fixture
def told(redis_server: RedisServer, redis_url: str) -> Iterator[ScriptedRedis]:
    with scripted_redis(redis_server.port) as told:
        yield told


@pytest.fixture
def api(told: ScriptedRedis, mint_admin: Mint) -> Iterator[httpx.Client]:
    with TestClient(build_app(told.url)) as running:
        client = client_of(running)
        client.headers["Authorization"] = f"Bearer {mint_admin()['token']}"
        yield client


@pytest.mark.parametrize("what", list(CALLS))
def test_a_change_that_may_be_undone_is_503_and_can_be_repeated(
    api: httpx.Client, told: ScriptedRedis, what: str
) -> None:
    """It says that it is done and in effect; the same call again waits again, and is answered as ever."""
    token = create(api)["id"]
    told.answer = (0, 0)
    late = CALLS[what](api, token)
    check_refusal(503, "not_kept", late)
    assert LATE in late.json()["detail"]
    assert "1" == late.headers["retry-after"]
    told.answer = (1, 0)
    again = CALLS[what](api, token)
    assert again.is_success, again.text
    assert 2 == len(told.waits)


def test_a_rotation_that_may_be_undone_gives_its_text_all_the_same(api: httpx.Client, told: ScriptedRedis) -> None:
    """Nobody could get it a second time: the warning stands beside it, and nowhere else."""
    told.answer = (0, 0)
    rotated = api.post(f"/api/v1/tokens/{create(api)['id']}/rotations", json={})
    assert 201 == rotated.status_code
    assert rotated.json()["token"].startswith("sml_")
    assert LATE in rotated.json()["warning"]
    told.answer = (1, 0)
    rotated = api.post(f"/api/v1/tokens/{create(api)['id']}/rotations", json={})
    assert "warning" not in rotated.json()


def test_a_token_that_is_made_is_not_waited_for(api: httpx.Client, told: ScriptedRedis) -> None:
    """If it is lost, nobody gets in who should not."""
    told.answer = (0, 0)
    assert create(api)["token"]
    assert [] == told.waits
