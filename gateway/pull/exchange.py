"""A token for the ID token of the CI job (RFC 8693), where no token is stored.

Rule 1: an ID token comes from a variable, from the provider's own address, or from its agent; never from an argument.
Rule 2: an ID token is good for one token, so it is shown once to each gateway, unless the provider gives another one.
"""

from collections.abc import Callable, Mapping
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from .explanation import clean
from .manifest import LOOPBACK
from .model import Export, Result
from .pace import Clock, choose_delay, parse_retry_after
from .transport import Broken, Head, Receive, Transport

ADDRESS = "/-/token-exchange"
"""Where a gateway exchanges ID tokens."""
ID_TOKEN_VARIABLE = "GATEWAY_ID_TOKEN"
"""GitLab's `id_tokens` and other providers put one into a variable; this is its name by default."""
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
MAXIMUM_ANSWER_BYTES = 65536
REQUEST_SECONDS = 30.0
AGENT_SECONDS = 30.0

_GRANT = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
}


class Failed(msgspec.Struct, frozen=True):
    """No token: what came of it, what happened and what to do."""

    result: Result
    message: str


class IdTokenSource(msgspec.Struct, frozen=True):
    """Where the job's ID tokens come from."""

    name: str
    """As a message calls it."""
    find: Callable[[str], str | Failed]
    """Returns an ID token for an audience."""
    is_fixed: bool = True
    """Whether it is the same one each time."""


class _GithubAnswer(msgspec.Struct):
    """What GitHub answers a request for an ID token."""

    value: str


class _Answer(msgspec.Struct):
    """What a gateway answers; one member or the other is there."""

    access_token: str = ""
    error: str = ""
    error_description: str = ""


def find_source(environment: Mapping[str, str], variable: str, transport: Transport) -> IdTokenSource | None:
    """Return where the job's ID tokens come from; None if it has none."""

    def read(name: str) -> IdTokenSource:
        return IdTokenSource(f"the variable {name}", lambda _: environment[name].strip())

    if environment.get(variable, "").strip():
        return read(variable)
    url, token = (environment.get(f"ACTIONS_ID_TOKEN_REQUEST_{part}", "") for part in ("URL", "TOKEN"))
    if url and token:
        return IdTokenSource("GitHub", lambda audience: _ask_github(transport, url, token, audience), is_fixed=False)
    if environment.get("CIRCLE_OIDC_TOKEN_V2", "").strip():
        return read("CIRCLE_OIDC_TOKEN_V2")
    if environment.get("BUILDKITE") == "true":
        return IdTokenSource("buildkite-agent", _ask_buildkite, is_fixed=False)
    return None


def exchange(
    transport: Transport,
    clock: Clock,
    source: IdTokenSource,
    export: Export,
    audience: str,
    deadline: float,
    hide: Callable[[str], None],
) -> str | Failed:
    """Return a token of the export's gateway, or why there is none. It tries again until the `deadline`.

    `hide` is called with each secret before anything can be printed.
    """
    attempts = 0
    while True:
        attempts += 1
        found = source.find(audience or export.origin)
        if isinstance(found, str):
            hide(found)
        answer = found if isinstance(found, Failed) else _send(transport, export, found, source)
        if isinstance(answer, str):
            hide(answer)
            return answer
        failed, head = answer if isinstance(answer, tuple) else (answer, None)
        if failed.result is not Result.UNREACHABLE:
            return failed
        delay = choose_delay(parse_retry_after(head, clock.unix()) if head else None, attempts, clock.chance())
        if clock.monotonic() + delay > deadline or clock.wait(delay):
            return failed


def _send(
    transport: Transport, export: Export, id_token: str, source: IdTokenSource
) -> "str | Failed | tuple[Failed, Head]":
    """Return the token, or why there is none, with the head of the answer if there was one."""
    content, begin = _collect()
    form = urlencode({**_GRANT, "subject_token": id_token}).encode()
    fields = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
    head = transport.post(f"{export.origin}{ADDRESS}", fields, form, begin, REQUEST_SECONDS)
    if isinstance(head, Broken):
        result = Result.REFUSED if head.is_final else Result.UNREACHABLE
        return Failed(result, f"{export.origin} cannot be reached: {clean(head.message)}.")
    try:
        answer = msgspec.json.decode(content, type=_Answer)
    except msgspec.DecodeError:
        answer = _Answer()
    if head.status == 200 and answer.access_token:
        return answer.access_token
    said = f" ({clean(answer.error_description or answer.error).rstrip('.')})" if answer.error else ""
    if head.status in RETRIED:
        return Failed(Result.UNREACHABLE, f"{head.status}: the gateway exchanges no ID tokens now{said}."), head
    if head.status == 404:
        return Failed(Result.REFUSED, f"404: {export.origin} exchanges no ID tokens; set the variable of the token.")
    again = " An ID token is good for one run: pull all exports in one." if source.is_fixed else ""
    told = f"{head.status}: the gateway gives no token for the ID token of {source.name}{said}."
    return Failed(Result.REFUSED, f"{told} Ask its operator for a [[trust]] that this job meets.{again}")


def _ask_github(transport: Transport, url: str, token: str, audience: str) -> str | Failed:
    """Ask the address that GitHub gives a job with `permissions: id-token: write`."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        return Failed(Result.REFUSED, "ACTIONS_ID_TOKEN_REQUEST_URL is no https URL; the job's ID token stays unasked.")
    content, begin = _collect()
    fields = [("Authorization", f"Bearer {token}"), ("Accept", "application/json")]
    joined = f"{url}{'&' if parts.query else '?'}audience={quote(audience, safe='')}"
    head = transport.get(joined, fields, begin, REQUEST_SECONDS)
    if isinstance(head, Broken):
        return Failed(Result.UNREACHABLE, f"GitHub gives no ID token: {clean(head.message)}.")
    try:
        if head.status == 200:
            return msgspec.json.decode(content, type=_GithubAnswer).value
    except msgspec.DecodeError:
        pass
    result = Result.UNREACHABLE if head.status in RETRIED else Result.REFUSED
    return Failed(result, f"{head.status}: GitHub gives no ID token. Give the job `permissions: id-token: write`.")


def _ask_buildkite(audience: str) -> str | Failed:
    """Ask the agent of the job. The audience is no secret, and the ID token comes by a pipe."""
    import subprocess  # noqa: PLC0415 - costs a part of the start, and only this provider needs it

    command = ["buildkite-agent", "oidc", "request-token", "--audience", audience]
    try:
        # The audience is an argument by itself, and no shell reads it.
        done = subprocess.run(command, capture_output=True, text=True, timeout=AGENT_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return Failed(Result.UNREACHABLE, f"buildkite-agent gives no ID token: {type(error).__name__}.")
    if done.returncode or not done.stdout.strip():
        return Failed(Result.UNREACHABLE, f"buildkite-agent gives no ID token: it ended with {done.returncode}.")
    return done.stdout.strip()


def _collect() -> tuple[bytearray, Callable[[Head], Receive]]:
    """Return where the content of an answer will be, and what collects it, up to MAXIMUM_ANSWER_BYTES."""
    content = bytearray()

    def begin(_: Head) -> Receive:
        content.clear()
        return lambda piece: content.extend(piece[: MAXIMUM_ANSWER_BYTES - len(content)])

    return content, begin
