"""What Redis' settings mean for tokens."""

import pytest
from msgspec.structs import replace

from gateway.core.durability import StoreFacts, check_store, promise_of

GOOD = StoreFacts(
    version="7.0.15",
    is_append_only=True,
    fsync="everysec",
    has_snapshots=True,
    eviction="noeviction",
    maximum_bytes=1 << 30,
)


@pytest.mark.parametrize("fsync", ["everysec", "always", None])
def test_settings_that_lose_nothing_acknowledged_are_no_finding(fsync: str | None) -> None:
    """An append-only file that reaches the disk, or a server that does not tell when."""
    assert () == check_store(replace(GOOD, fsync=fsync))


@pytest.mark.parametrize(
    "policy",
    [f"{which}-{how}" for which in ("allkeys", "volatile") for how in ("lru", "lfu", "random")] + ["volatile-ttl"],
)
def test_whatever_evicts_is_found_with_the_line_to_set(policy: str) -> None:
    """Counters of quotas have an end: volatile policies evict them too."""
    (finding,) = check_store(replace(GOOD, eviction=policy))
    assert "eviction" == finding.kind
    assert policy in finding.problem
    assert ("maxmemory-policy noeviction",) == finding.remedy


def test_snapshots_only_is_found_with_the_two_lines_to_set() -> None:
    """Debian's stock Redis: a revocation is lost with a kill."""
    (finding,) = check_store(replace(GOOD, is_append_only=False))
    assert "durability" == finding.kind
    assert ("appendonly yes", "appendfsync everysec") == finding.remedy
    assert "appendonly yes; appendfsync everysec" in str(finding)


def test_neither_snapshots_nor_a_log_is_found_as_the_loss_of_everything() -> None:
    """With `save ""` an orderly stop writes nothing either; with an append-only file nobody needs snapshots."""
    (finding,) = check_store(replace(GOOD, is_append_only=False, has_snapshots=False))
    assert "durability" == finding.kind
    assert "all tokens and revocations are lost" in finding.problem
    assert ("appendonly yes", "appendfsync everysec") == finding.remedy
    assert () == check_store(replace(GOOD, has_snapshots=False))


def test_a_log_that_nobody_flushes_is_found() -> None:
    """The system writes it within half a minute."""
    (finding,) = check_store(replace(GOOD, fsync="no"))
    assert ("appendfsync everysec",) == finding.remedy


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (replace(GOOD, is_append_only=False), "until Redis ends in any other way than an orderly stop."),
        (replace(GOOD, is_append_only=False, has_snapshots=None), "otherwise they survive an orderly stop only."),
        (replace(GOOD, is_append_only=False, has_snapshots=False), "lost when Redis ends, also at an orderly stop."),
        (replace(GOOD, has_snapshots=False), "last second"),
        (replace(GOOD, fsync="no"), "30 seconds"),
        (GOOD, "last second"),
        (replace(GOOD, fsync="always"), "and of its machine."),
        (replace(GOOD, version="7.2.4"), "and of its machine."),
        (replace(GOOD, version="10.0.1", fsync=None), "and of its machine."),
        (replace(GOOD, version="7.2.4", fsync="no"), "30 seconds"),
        (replace(GOOD, version="7.2.4", is_append_only=False), "orderly stop"),
        (replace(GOOD, version="unstable"), "last second"),
    ],
)
def test_each_setting_has_its_promise(facts: StoreFacts, words: str) -> None:
    """What becomes of an acknowledged revocation is said for each."""
    assert words in promise_of(facts)
