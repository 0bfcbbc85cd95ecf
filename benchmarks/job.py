"""Check that a server does the whole job before its CPU is measured: a benchmark of half a job tells nothing.

Each server answers a cached response, a 304, three refusals and, if it proxies, a proxied response. SystemExit names
what is missing.
"""

import json
from pathlib import Path

from benchmarks.clients import AUTHORIZED, Field, build_head
from benchmarks.peers.processes import Tokens
from benchmarks.stage import Served, ask_head
from tests.support.client import Answer
from tests.support.processes import wait_until

LOG_SECONDS = 20.0
"""Until a line of the access log is in its file; nginx flushes once a second."""


def check_job(name: str, served: Served, tokens: Tokens, *, proxies: bool, log: Path | None) -> str:
    """Return the entity tag of /export. Raise SystemExit if the server does not do all of the job."""

    def ask(file: str, target: str = "/export", own: tuple[Field, ...] = ()) -> Answer:
        return ask_head(served.port, build_head(target, (*AUTHORIZED, *own)), Path(file).read_text().split()[0])

    first = ask(tokens.many)
    tag = first.field("etag") or ""
    ask(tokens.small)
    limited = ask(tokens.small)
    refused = {401: (ask(tokens.unknown), ask(tokens.revoked)), 429: (limited,)}
    again = ask(tokens.many, own=(("If-None-Match", f'"other", {tag}'),))
    problems = [one for status, answers in refused.items() for one in answers if not _is_problem(one, status)]
    checks = {
        "a weak entity tag": first.status == 200 and tag.startswith('W/"'),
        "a count that goes down": _left(first) - 1 == _left(ask(tokens.many, own=(("If-None-Match", "*"),))) + 1,
        "a quota that is announced": "q=" in (first.field("ratelimit-policy") or ""),
        "304 for a tag in a list": again.status == 304 and not again.content and again.field("etag") == tag,
        "401 and 429 with problem details": not problems,
        "a challenge": all("invalid_token" in (one.field("www-authenticate") or "") for one in refused[401]),
        "Retry-After": int(limited.field("retry-after") or 0) > 0,
        "an id for each request": len({one.field("x-request-id") for one in (first, again, limited)}) == 3,
        "proxying": not proxies or ask(tokens.many, "/live").content == first.content,
    }
    for what, is_there in checks.items():
        if not is_there:
            raise SystemExit(f"{name} does not do the whole job: {what} is missing; see benchmarks/README.md")
    if log is not None:
        wait_until(lambda: _has_record(log), f"{name} writes an access log", LOG_SECONDS)
    return tag


def _is_problem(answer: Answer, status: int) -> bool:
    kind = answer.field("content-type") or ""
    return answer.status == status and kind == "application/problem+json" and answer.json()["status"] == status


def _left(answer: Answer) -> int:
    """Return how many units are left, by RateLimit."""
    return int((answer.field("ratelimit") or ";r=0;").partition(";r=")[2].partition(";")[0])


def _has_record(log: Path) -> bool:
    """Return whether a line names the request's id, its token, and its status."""
    lines = log.read_text().splitlines() if log.exists() else []
    records = [json.loads(line) for line in lines[:-1]]
    return any(one.get("request_id") and one.get("token") and one.get("status") == 200 for one in records)
