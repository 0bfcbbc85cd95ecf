"""Compile the backend of a policy: targets, timeouts, limits, and changes on the way."""

from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

import msgspec

from gateway.core.http.fields import MAXIMUM_PORT, parse_authority
from gateway.core.http.targets import parse_path
from gateway.core.policies.grammar import NO_BACKEND
from gateway.core.policies.model import CLIENT_HOST, UNIX, FieldEdits, HealthCheck, Rewrite, Tls, Upstream
from gateway.core.policies.reading import Mistake, path_to, unknown_name
from gateway.core.policies.schema import AssertionTable, FieldsTable, RewriteTable, RuleTable, UpstreamTable
from gateway.core.quotas.model import parse_duration
from gateway.core.upstream.client_fields import (
    HOP_BY_HOP,
    MISLEADING,
    SET_BY_GATEWAY,
    fold,
    fold_all,
    is_identity,
    is_misleading,
    is_set_by_gateway,
)
from gateway.core.upstream.forwarding import SET_FOR_CLIENTS

Note = Callable[[Mistake], None]

_OF_CONNECTIONS = fold_all(HOP_BY_HOP | {b"content-length"})


def compile_upstream(written: str | UpstreamTable, replacement: str | None, note: Note) -> Upstream:
    """Compile the backend as it is `written`; `replacement` is the URL of one target that replaces all."""
    if written == NO_BACKEND:
        return Upstream((replacement.rstrip("/"),) if replacement else (), host=CLIENT_HOST)
    table = UpstreamTable(url=written) if isinstance(written, str) else written
    _check(table, note)
    health, tls = table.health, table.tls
    return Upstream(
        targets=(replacement.rstrip("/"),) if replacement else tuple(_targets(table, note)),
        connect_timeout_seconds=parse_duration(table.connect_timeout),
        response_timeout_seconds=parse_duration(table.response_timeout),
        idle_timeout_seconds=parse_duration(table.idle_timeout),
        total_timeout_seconds=parse_duration(table.total_timeout) if table.total_timeout else None,
        max_connections=table.max_connections,
        max_waiting=table.max_waiting,
        retries=table.retries,
        host=table.host,
        pass_fields=_compile_pass_fields(table, note),
        health=HealthCheck(health.path, parse_duration(health.interval), parse_duration(health.timeout))
        if health
        else None,
        tls=Tls(tls.ca or "", tls.certificate or "", tls.key or "", tls.server_name or "") if tls else Tls(),
        rewrite=_compile_rewrite(table.rewrite, note),
        sends_forwarded=table.forwarded,
        new_trace=table.new_trace,
        audience=_find_audience(table.assertion),
        request_edits=_compile_edits(table.request_headers, "request_headers", SET_BY_GATEWAY | {b"via"}, note),
        response_edits=_compile_edits(table.response_headers, "response_headers", SET_FOR_CLIENTS, note),
    )


def compile_times(table: RuleTable, upstream: Upstream, path: str, note: Note) -> Upstream:
    """Return the policy's backend with the timeouts of a rule."""
    times = {"response_timeout": table.response_timeout, "idle_timeout": table.idle_timeout}
    given = {f"{key}_seconds": parse_duration(text) for key, text in times.items() if text is not None}
    _check_times(times, path, note)
    return msgspec.structs.replace(upstream, **given) if given else upstream


def _check_times(times: Mapping[str, str | None], path: str, note: Note) -> None:
    for key, text in times.items():
        if text is not None and parse_duration(text) == 0:
            note(Mistake(path_to(path, key), "no backend can do anything in no time"))


def _check(table: UpstreamTable, note: Note) -> None:
    if (table.url is None) == (table.targets is None):
        note(Mistake("$.upstream", "name one target as `url`, or several as `targets`"))
    times = ("connect_timeout", "response_timeout", "idle_timeout", "total_timeout")
    _check_times({key: getattr(table, key) for key in times}, "$.upstream", note)
    if table.health and (parse_duration(table.health.interval) == 0 or parse_duration(table.health.timeout) == 0):
        note(Mistake("$.upstream.health", "interval and timeout must be above 0"))
    if table.tls and not any(url.startswith("https:") for url in (table.url or "", *(table.targets or ()))):
        note(Mistake("$.upstream.tls", "no target is of scheme https"))
    if parse_authority(table.host.encode(), "http") is None:
        note(Mistake("$.upstream.host", f"{table.host} has a port above {MAXIMUM_PORT}"))
    if table.tls and table.tls.key and not table.tls.certificate:
        note(Mistake("$.upstream.tls.key", "a key is of no use without its certificate"))


def _targets(table: UpstreamTable, note: Note) -> Iterable[str]:
    """Yield the targets as the gateway compares them: without trailing slashes. A repeated one is a mistake."""
    seen: set[str] = set()
    for index, written in enumerate(table.targets or ([table.url] if table.url else [])):
        path = "$.upstream" if table.targets is None else path_to("$.upstream.targets", index)
        url = written.rstrip("/")
        try:
            url.encode("ascii")
            if not url.startswith(UNIX):
                _ = urlsplit(url).port
        except ValueError as error:
            note(Mistake(path, str(error)))
        if url in seen:
            note(Mistake(path, f"{url} is a target already"))
        seen.add(url)
        yield url


def _find_audience(written: bool | AssertionTable) -> str | None:
    if isinstance(written, AssertionTable):
        return written.audience
    return "" if written else None


def _compile_rewrite(table: RewriteTable | None, note: Note) -> Rewrite | None:
    if table is None:
        return None
    segments = parse_path(table.prefix.rstrip("/") or "/")
    if segments is None or "%" in table.prefix or parse_path(table.replacement) is None:
        message = "no request can have such a path: write it without dot or empty segments, the prefix decoded"
        note(Mistake("$.upstream.rewrite", message))
        return None
    return Rewrite(segments if segments != ("",) else (), table.replacement.rstrip("/"))


def _compile_pass_fields(table: UpstreamTable, note: Note) -> frozenset[bytes]:
    """Return the fields that pass although they are removed by default.

    A field that passes anyway, or that only the gateway may set, is a mistake.
    """
    for index, name in enumerate(table.pass_fields):
        path, plain = path_to("$.upstream.pass_fields", index), name.lower().encode()
        if is_identity(plain):
            note(Mistake(path, f"{name} says who asks: only the gateway may"))
        elif is_set_by_gateway(plain):
            note(Mistake(path, f"{name} is what the gateway itself says, or about one connection: it cannot pass"))
        elif not is_misleading(plain):
            known = {known.decode(): None for known in sorted(MISLEADING)}
            note(Mistake(path, f"{unknown_name('field', name.lower(), known)} Other fields pass without being named"))
    return frozenset(name.lower().encode() for name in table.pass_fields)


def _compile_edits(table: FieldsTable | None, key: str, own: frozenset[bytes], note: Note) -> FieldEdits | None:
    if table is None:
        return None
    place = f"$.upstream.{key}"
    for path, name, is_set in (
        *((path_to(f"{place}.set", name), name, True) for name in table.set),
        *((path_to(f"{place}.remove", index), name, False) for index, name in enumerate(table.remove)),
    ):
        folded = fold(name.encode())
        if is_identity(folded):
            note(Mistake(path, f"{name} says who asks: only the gateway may"))
        elif folded in _OF_CONNECTIONS:
            note(Mistake(path, f"{name} is about one connection, not about the message"))
        elif is_set and folded in fold_all(own):
            note(Mistake(path, f"{name} is what the gateway itself says"))
    if len({name.lower() for name in table.set}) < len(table.set):
        note(Mistake(f"{place}.set", "a name stands here twice, in different cases"))
    added = tuple((name.lower().encode(), value.encode()) for name, value in table.set.items())
    removed = fold_all([*(name.encode() for name in table.remove), *(name for name, _ in added)])
    return FieldEdits(removed, added)
