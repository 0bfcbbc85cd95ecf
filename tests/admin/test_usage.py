"""Usage by the management API, over a real Redis."""

import httpx
import pytest

from tests.admin.conftest import check_refusal, create

pytestmark = pytest.mark.redis

Api = httpx.Client


def test_what_was_counted_is_told(api: Api) -> None:
    """Of a token by the day, of a policy by the hour, also where there is nothing; 404 for what there is not."""
    identity = create(api)["id"]
    days = api.get(f"/api/v1/tokens/{identity}/usage", params={"days": 3}).json()["days"]
    assert [("2027-01-13T00:00:00Z", 0), ("2027-01-14T00:00:00Z", 0), ("2027-01-15T00:00:00Z", 0)] == [
        (day["time"], day["requests"]) for day in days
    ]
    usage = api.get("/api/v1/policies/small/usage").json()
    assert 24 == len(usage["hours"])
    assert 0 == usage["requests"]
    assert {} == usage["refusals"]
    assert None is usage["hit_ratio"]
    check_refusal(404, "not_found", api.get("/api/v1/tokens/x/usage"))
    check_refusal(404, "not_found", api.get("/api/v1/policies/x/usage"))
    check_refusal(400, "invalid", api.get(f"/api/v1/tokens/{identity}/usage", params={"days": 32}))
