"""Requests as logs tell of them: read from the gateway's own access log, or from the logs of others.

The gateway's own records say all that a replay needs. Other logs know no tokens of ours: whoever they name (a user, a
consumer, a key) is taken for a token, and if they name nobody, the client's address is.
"""

import functools
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec


class LoggedRequest(msgspec.Struct, gc=False):
    """One request of a log. The names are those of the gateway's access records."""

    time: str
    method: str
    path: str
    """Without the query."""
    status: int = 0
    host: str = ""
    client: str = ""
    duration_seconds: float = 0.0
    token: str = ""
    """Who asked; empty if the log names nobody."""
    token_name: str = ""
    lineage: str = ""
    """The token whose counters it uses."""
    plan: str = ""
    project: str = ""
    owner: str = ""
    reason: str = ""
    cost: int = 0
    cache: str = ""
    rule: str = ""
    decided: int = 0
    """When its quotas were charged, by Redis' clock in Unix milliseconds; if the log does not say it, its time."""


class NotALogLine(ValueError):
    """A line is no record of the form; the message says what is wrong with it."""


Reader = Callable[[bytes], LoggedRequest]
"""Reads one line. Raises NotALogLine."""

_decode_own = msgspec.json.Decoder(LoggedRequest).decode


def read_own(line: bytes) -> LoggedRequest:
    """Read a record of the gateway's own access log. Raise NotALogLine."""
    try:
        request = _decode_own(line)
    except msgspec.DecodeError as error:
        raise NotALogLine(str(error)) from None
    if not request.decided:
        request.decided = parse_time(request.time)
    request.lineage = request.lineage or request.token
    return request


def parse_time(text: str) -> int:
    """Return the Unix milliseconds of an RFC 3339 time. Raise NotALogLine."""
    try:
        return _minute(text[:16], text[23:]) + int(text[17:19]) * 1000 + int(text[20:23])
    except ValueError:
        pass
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        raise NotALogLine(f"{text!r} is no time") from None


@functools.lru_cache(maxsize=4096)
def _minute(minute: str, zone: str) -> int:
    """Return the Unix milliseconds of a minute: the part of a time that is the same for many lines."""
    return int(datetime.fromisoformat(f"{minute}:00{zone}").timestamp() * 1000)


# $remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"
_COMBINED = re.compile(rb'(\S+) \S+ (\S+) \[([^\]]+)\] "([A-Z-]+) (\S+) [^"]*" (\d{3}) ')
# [%START_TIME%] "%METHOD% %PATH% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION%
# %X-ENVOY-UPSTREAM-SERVICE-TIME% "%X-FORWARDED-FOR%" "%USER-AGENT%" "%X-REQUEST-ID%" "%:AUTHORITY%" "%UPSTREAM_HOST%"
_ENVOY = re.compile(
    rb'\[([^\]]+)\] "([A-Z-]+) (\S+) [^"]*" (\d{1,3}) \S+ \d+ \d+ (\d+) \S+ "([^"]*)" "[^"]*" "[^"]*" "([^"]*)"'
)


def read_nginx(line: bytes) -> LoggedRequest:
    """Read a line of nginx' or Apache's `combined` format. Raise NotALogLine."""
    match = _COMBINED.match(line)
    if match is None:
        raise NotALogLine("it is not of the format `combined`")
    client, user, time, method, target, status = (one.decode("latin-1") for one in match.groups())
    try:
        when = datetime.strptime(time, "%d/%b/%Y:%H:%M:%S %z")
    except ValueError:
        raise NotALogLine(f"{time!r} is no time of the format `combined`") from None
    named = "" if user == "-" else user
    return _foreign(int(when.timestamp() * 1000), method, target, int(status), client=client, token=named)


def read_envoy(line: bytes) -> LoggedRequest:
    """Read a line of Envoy's default format. Raise NotALogLine."""
    match = _ENVOY.match(line)
    if match is None:
        raise NotALogLine("it is not of Envoy's default format")
    time, method, target, status, took, client, host = (one.decode("latin-1") for one in match.groups())
    named = {"client": client.partition(",")[0], "host": host}
    known = {name: value for name, value in named.items() if value != "-"}
    return _foreign(parse_time(time), method, target, int(status), duration_seconds=int(took) / 1000, **known)


class FieldMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a log of JSON lines has what a replay needs: names in objects, joined by dots; the first that is there."""

    time: tuple[str, ...]
    """A number of Unix milliseconds or seconds, or a time of RFC 3339."""
    method: tuple[str, ...]
    target: tuple[str, ...]
    """A path or a URL, with or without a query."""
    status: tuple[str, ...]
    host: tuple[str, ...] = ()
    client: tuple[str, ...] = ()
    token: tuple[str, ...] = ()
    milliseconds: tuple[str, ...] = ()
    """How long the request took."""


FIELD_MAPS: Mapping[str, FieldMap] = {
    # kong: the serialized log of file-log, http-log, tcp-log
    "kong": FieldMap(
        time=("started_at",),
        method=("request.method",),
        target=("request.uri", "request.url"),
        status=("response.status",),
        host=("request.headers.host",),
        client=("client_ip",),
        token=("authenticated_entity.id", "consumer.id", "consumer.username"),
        milliseconds=("latencies.request",),
    ),
    # tyk: the analytics record of tyk-pump
    "tyk": FieldMap(
        time=("timestamp", "TimeStamp"),
        method=("method", "Method"),
        target=("raw_path", "RawPath", "path", "Path"),
        status=("response_code", "ResponseCode"),
        host=("host", "Host"),
        client=("ip_address", "IPAddress"),
        token=("api_key", "APIKey", "oauth_id", "OauthID"),
        milliseconds=("request_time", "RequestTime"),
    ),
}


def map_reader(fields: FieldMap) -> Reader:
    """Return the reader of JSON lines that have their values where `fields` says."""
    needed = {name: tuple(way.split(".") for way in getattr(fields, name)) for name in FieldMap.__struct_fields__}

    def read(line: bytes) -> LoggedRequest:
        try:
            record = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise NotALogLine(str(error)) from None
        found = {name: _find(record, ways) for name, ways in needed.items()}
        missing = [name for name in ("time", "method", "target", "status") if found[name] in (None, "")]
        if missing:
            raise NotALogLine(f"it has no {missing[0]} at {' or '.join(getattr(fields, missing[0]))}")
        try:
            return _foreign(
                _moment(found["time"]),
                str(found["method"]),
                str(found["target"]),
                int(found["status"]),
                host=str(found["host"] or ""),
                client=str(found["client"] or ""),
                token=str(found["token"] or ""),
                duration_seconds=float(found["milliseconds"] or 0) / 1000,
            )
        except (TypeError, ValueError) as error:
            raise NotALogLine(str(error)) from None

    return read


def _find(record: Any, ways: tuple[list[str], ...]) -> Any:
    for way in ways:
        value = record
        for name in way:
            value = value.get(name) if isinstance(value, dict) else None
        if value not in (None, ""):
            return value
    return None


def _moment(value: Any) -> int:
    """Return Unix milliseconds: a number below 10**11 is one of seconds."""
    if isinstance(value, str):
        return parse_time(value)
    return int(value * 1000) if value < 10**11 else int(value)


def _foreign(at: int, method: str, target: str, status: int, **others: Any) -> LoggedRequest:
    """Build a request of a log that knows no tokens of ours: whoever it names is taken for one."""
    path = (urlsplit(target).path if "://" in target else target.partition("?")[0]) or "/"
    request = LoggedRequest("", method, path, status, decided=at, **others)
    request.host = request.host.lower().partition(":")[0]
    request.token = request.lineage = request.token or request.client
    if status == TOO_MANY:
        request.reason = "quota_exceeded"
    return request


TOO_MANY = 429
"""The status of a request over a limit (RFC 6585 4)."""

READERS: Mapping[str, Reader] = {
    "gateway": read_own,
    "nginx": read_nginx,
    "envoy": read_envoy,
    **{name: map_reader(fields) for name, fields in FIELD_MAPS.items()},
}
"""The forms of logs, by their names."""
