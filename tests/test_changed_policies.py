"""Two versions of a policy file on one Redis, as in a rolling deploy: what one stores and the other purges."""

from gateway.core.cache.keys import named_group
from gateway.core.policies.loading import load_policies
from tests.support.exchange_harness import NOW, cache_status, ok, open_exchange
from tests.support.policies import small_policy


def of_groups(groups: str) -> str:
    return small_policy(f'fresh = "1h", groups = [{groups}]')


async def test_a_purge_reaches_all_that_is_answered_under_its_group() -> None:
    """What a process of the old file stored is not in the new group: no process of the new file answers with it."""
    async with open_exchange(ok(), ok(), ok(), policy=of_groups("")) as harness:
        old, new = harness.current, load_policies({"small.toml": of_groups('"texts"')})
        await harness.ask("GET /export")
        harness.current, harness.now = new, NOW + 1000
        await harness.ask("GET /export")
        harness.now = NOW + 2000
        assert 1 == await harness.exports.purge("small", [named_group("texts")])
        harness.now = NOW + 3000
        assert b"fwd=uri-miss" in (cache_status(await harness.ask("GET /export")) or b"")
        assert b"hit" in (cache_status(await harness.ask("GET /export")) or b"")
        assert 3 == len(harness.upstreams.sent)
        harness.current = old
        assert b"hit" in (cache_status(await harness.ask("GET /export")) or b""), "which knows nothing of the group"
