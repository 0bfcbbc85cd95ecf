"""What the log says of proxies that ask wrongly."""

import logging

import pytest

from gateway.server.forward_auth import QUIET_SECONDS, LackingLog


def test_a_proxy_that_asks_wrongly_floods_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each mistake is told once in a while, and how often it was made since; a clock that is set back tells again."""
    caplog.set_level(logging.WARNING)
    now = 1000.0
    log = LackingLog(lambda: now)
    for number in range(3):
        log.log("x-forwarded-for", "192.0.2.1", f"a{number}")
    log.log("x-forwarded-uri", "192.0.2.1", "b0")
    now += QUIET_SECONDS
    log.log("x-forwarded-for", "192.0.2.2", "c0")
    log.log("x-forwarded-for", "192.0.2.2", "c1")
    now -= 1
    log.log("x-forwarded-for", "192.0.2.2", "d0")
    assert [
        "request a0: the proxy that asks lacks x-forwarded-for (192.0.2.1)",
        "request b0: the proxy that asks lacks x-forwarded-uri (192.0.2.1)",
        "request c0: the proxy that asks lacks x-forwarded-for, and did 2 times since this was told last (192.0.2.2)",
        "request d0: the proxy that asks lacks x-forwarded-for, and did 1 times since this was told last (192.0.2.2)",
    ] == caplog.messages
