"""What `gateway serve` sees to before it serves."""

import resource

import pytest

from gateway.cli.serve import MAXIMUM_DESCRIPTORS, raise_descriptor_limit

FEW = (
    "few descriptors: a process may open {allowed} files and connections, and 2000 requests need 4256; raise the hard "
    "limit (LimitNOFILE= of systemd, ulimit -Hn), or set GATEWAY_MAX_REQUESTS={fitting}"
)


@pytest.mark.parametrize(
    ("limits", "taken", "told"),
    [
        ((1024, resource.RLIM_INFINITY), (MAXIMUM_DESCRIPTORS, resource.RLIM_INFINITY), ""),
        ((1024, 4256), (4256, 4256), ""),
        ((1024, 4255), (4255, 4255), FEW.format(allowed=4255, fitting=1999)),
        ((1024, 1024), None, FEW.format(allowed=1024, fitting=384)),
        ((100, 100), None, FEW.format(allowed=100, fitting=1)),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None, ""),
    ],
)
def test_a_hard_limit_that_is_too_low_is_told(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limits: tuple[int, int],
    taken: tuple[int, int] | None,
    told: str,
) -> None:
    """A request has two connections: with too few descriptors, some would be refused before max_requests is reached."""
    set_limits: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.getrlimit", lambda _: limits)
    monkeypatch.setattr("resource.setrlimit", lambda _, wanted: set_limits.append(wanted))
    raise_descriptor_limit(2000)
    assert ([] if taken is None else [taken]) == set_limits
    assert ([told] if told else []) == caplog.messages


def test_more_requests_take_more_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system lets us: two for each request, and some to spare."""
    set_limits: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1 << 20))
    monkeypatch.setattr("resource.setrlimit", lambda _, wanted: set_limits.append(wanted))
    raise_descriptor_limit(100_000)
    assert [(200_256, 1 << 20)] == set_limits
