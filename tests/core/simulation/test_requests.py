"""Lines of logs, our own and those of others."""

import pytest

from gateway.core.simulation.requests import READERS, NotALogLine

NOON = 1_790_000_000_000
LINES = {
    "gateway": b'{"time":"2026-09-21T14:13:20.000+00:00","request_id":"1","method":"GET","host":"h","path":"/a",'
    b'"client":"192.0.2.1","status":200,"ended":"complete","token":"t1","duration_seconds":0.25}',
    "nginx": b'192.0.2.1 - t1 [21/Sep/2026:16:13:20 +0200] "GET /a?x=1 HTTP/1.1" 200 5 "-" "curl/8"',
    "envoy": b'[2026-09-21T14:13:20.000Z] "GET /a HTTP/1.1" 200 - 0 5 250 249 '
    b'"192.0.2.1" "curl/8" "id" "h" "10.0.0.1:80"',
    "kong": b'{"started_at":1790000000000,"request":{"method":"GET","uri":"/a?x=1","headers":{"host":"h:8000"}},'
    b'"response":{"status":200},"client_ip":"192.0.2.1","consumer":{"id":"t1"},"latencies":{"request":250}}',
    "tyk": b'{"timestamp":"2026-09-21T14:13:20Z","method":"GET","raw_path":"/a","host":"h","response_code":200,'
    b'"api_key":"t1","ip_address":"192.0.2.1","request_time":250}',
}


@pytest.mark.parametrize("form", READERS)
def test_a_line_says_who_asked_for_what_and_when(form: str) -> None:
    """The same request in each form."""
    found = READERS[form](LINES[form])
    assert (NOON, "GET", "/a", 200, "192.0.2.1") == (
        found.decided,
        found.method,
        found.path,
        found.status,
        found.client,
    )
    assert ("192.0.2.1" if form == "envoy" else "t1") == found.token == found.lineage
    assert (0.0 if form == "nginx" else 0.25) == found.duration_seconds
    assert ("" if form == "nginx" else "h") == found.host


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("line", [b"nonsense", b"{}", b'{"time":"x","method":"GET","path":"/"}', b'"text"', b"[1]"])
def test_a_line_that_is_no_record_is_said(form: str, line: bytes) -> None:
    """By one kind of error."""
    with pytest.raises(NotALogLine):
        READERS[form](line)


def test_a_request_over_a_limit_was_refused_by_a_quota() -> None:
    """Whatever gateway wrote the log."""
    line = LINES["kong"].replace(b'"status":200', b'"status":429')
    assert "quota_exceeded" == READERS["kong"](line).reason


def test_the_moment_of_the_decision_counts_if_the_log_says_it() -> None:
    """By Redis' clock."""
    line = LINES["gateway"].replace(b'"status"', b'"decided":1790000000007,"status"')
    assert NOON + 7 == READERS["gateway"](line).decided
