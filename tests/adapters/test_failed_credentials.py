"""Failed credentials per client address."""

import pytest

from gateway.adapters import failed_credentials
from gateway.adapters.failed_credentials import FailedCredentials
from gateway.core.errors import ConfigurationError


def test_a_client_is_blocked_from_the_limit_on() -> None:
    """The failure that reaches the limit blocks until the window ends; another client is free."""
    failures = FailedCredentials("2/hour")
    seen = []
    for _ in range(3):
        seen.append(failures.retry_after("192.0.2.1") is not None)
        failures.record_failure("192.0.2.1")
    assert [False, False, True] == seen
    assert 0 < (failures.retry_after("192.0.2.1") or 0) <= 3600
    assert None is failures.retry_after("192.0.2.2")


def test_an_ipv6_network_is_one_client() -> None:
    """Addresses of one /64 share their failures, also one that has made none."""
    failures = FailedCredentials("2/hour")
    failures.record_failure("2001:db8::1")
    failures.record_failure("2001:db8::2")
    assert [True, True] == [failures.retry_after(f"2001:db8::{n}") is not None for n in (2, 3)]


def test_the_memory_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses whose window has ended are forgotten when there are too many."""
    monkeypatch.setattr(failed_credentials, "MAXIMUM_NOTED", 3)
    failures = FailedCredentials("2/hour")
    for number in range(3):
        failures.record_failure(f"192.0.2.{number}")
    failures._limiter.storage.reset()
    failures.record_failure("192.0.2.9")
    assert {"192.0.2.9/32"} == failures._noted


def test_a_limit_that_is_none_is_a_configuration_error() -> None:
    """What `limits` cannot read is named."""
    with pytest.raises(ConfigurationError, match="100/fortnight"):
        FailedCredentials("100/fortnight")
