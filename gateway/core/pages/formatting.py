"""Formatting for people: times, numbers, samples, an operator's summary of a day, and the history of changes.

Times are in UTC. Samples are small documents that show what an export looks like, before there is a token.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from gateway.core.tokens.audit import DONE, Action, AuditEntry
from gateway.core.usage import HIT, MISS, NOT_MODIFIED, STALE, PolicyUsage, UsagePoint
from gateway.core.variants.model import DocumentKind, Variant

_STEPS = ((31536000, "year"), (2592000, "month"), (604800, "week"), (86400, "day"), (3600, "hour"), (60, "minute"))
_MOMENT_SECONDS = 45
"""Seconds below which a time is described as now."""


def describe_distance(seconds: int, now: int) -> str:
    """Describe a time in Unix seconds relative to `now`, in its largest unit, rounded down.

    Examples are `3 days ago`, `in 2 hours` and `just now`.
    """
    distance = abs(seconds - now)
    is_past = seconds <= now
    if distance < _MOMENT_SECONDS:
        return "just now" if is_past else "in a moment"
    step, unit = next(((step, unit) for step, unit in _STEPS if distance >= step), (60, "minute"))
    count = max(1, distance // step)
    words = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{words} ago" if is_past else f"in {words}"


def describe_moment(seconds: int) -> str:
    """Format a time such as `21 November 2026, 13:05:09 UTC`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M:%S} UTC"


def describe_day(seconds: int) -> str:
    """Format a day such as `21 Nov 2026`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%b %Y}"


def last_day(seconds: int) -> str:
    """Return the last day, such as 2027-01-31, that has ended by then, in UTC."""
    return datetime.fromtimestamp(seconds - 86400, UTC).strftime("%Y-%m-%d")


def parse_day(text: str) -> int | None:
    """Return Unix seconds of the end of a day such as 2027-01-31, in UTC, or None for any other text."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(day.timestamp()) + 86400


HEIGHT = 40
STEP = 10
LEAST = 2
"""The least height of a bar with any requests, so that it differs from none."""


class Bar(msgspec.Struct, frozen=True):
    """One day of a chart, in the units of its own drawing."""

    x: int
    height: int
    words: str

    @property
    def y(self) -> int:
        """The top of the bar: bars stand on the ground, a drawing begins at the top."""
        return HEIGHT - self.height


def build_bars(points: Sequence[UsagePoint]) -> list[Bar]:
    """Return a bar for each day, the largest as high as the drawing; a day without requests has height 1."""
    most = max((point.requests for point in points), default=0)
    return [
        Bar(
            x=index * STEP,
            height=max(LEAST, round(HEIGHT * point.requests / most)) if point.requests else 1,
            words=f"{describe_day(point.time)}: {describe_number(point.requests)}",
        )
        for index, point in enumerate(points)
    ]


def describe_number(number: int) -> str:
    """Format a number such as `12 345`, with thin spaces that do not break."""
    return f"{number:,}".replace(",", "\u202f")


def describe_share(part: int | float, whole: int | float) -> str:
    """Format a share such as `12.5 %`; a share of nothing is a dash.

    Less than all is never 100 %, and more than nothing is never 0 %.
    """
    if not whole:
        return "\u2013"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99.9 < share < 100:
        return "> 99.9 %"
    return f"{share:.1f}".removesuffix(".0") + " %"


_LANGUAGES = ("de", "en")
_TEXTS: Mapping[str, Mapping[str, str | Mapping[str, str]]] = {
    "home.hero.headline": {"de": "Willkommen", "en": "Welcome", "es": "Te damos la bienvenida", "fr": "Bienvenue"},
    "cart.checkout": {"de": "Zur Kasse", "en": "Checkout", "es": "Finalizar compra", "fr": "Commander"},
    "cart.items": {
        "de": {"one": "{n} Artikel", "other": "{n} Artikel"},
        "en": {"one": "{n} item", "other": "{n} items"},
        "fr": {"one": "{n} article", "other": "{n} articles"},
    },
}
_TOKENS = (
    ("color.brand.primary", "color", "#1f5fd6", "#8ab4ff"),
    ("color.text.default", "color", "#1a1d23", "#f2f4f8"),
    ("color.text.link", None, "{color.brand.primary}", None),
    ("space.medium", "dimension", "16px", None),
    ("font.size.body", "dimension", "1rem", None),
)


def build_sample(kind: DocumentKind, variant: Variant) -> bytes:
    """Build a document with what the variant asks for: its languages and its statuses, or its mode."""
    return msgspec.json.encode(_build_texts(variant) if kind == "translations" else _build_tokens(variant))


def _build_texts(variant: Variant) -> object:
    languages = variant.lang or _LANGUAGES
    statuses = variant.status or (None,)
    return {
        "entries": [
            {
                "id": f"n_{81 + index}",
                "key": key,
                "status": statuses[index % len(statuses)],
                "values": {language: texts.get(language) or texts["en"] for language in languages},
            }
            for index, (key, texts) in enumerate(_TEXTS.items())
        ]
    }


def _build_tokens(variant: Variant) -> object:
    mode = variant.mode or "light"
    return {
        "modes": [mode],
        "tokens": [
            {"name": name, "type": kind, "value": (dark if mode == "dark" and dark else value)}
            for name, kind, value, dark in _TOKENS
        ],
    }


MOST_REASONS = 8
FAILING_SHARE = 0.05
"""The share of a day's requests above which a backend counts as failing."""


class Summary(msgspec.Struct, frozen=True):
    """The sums over all policies."""

    requests: int
    refused: int
    refusals: Mapping[str, int]
    """The most frequent reasons."""
    from_cache: int
    cacheable: int
    """The requests that the cache could have answered."""
    not_modified: int
    upstream_failures: int


class Service(msgspec.Struct, frozen=True):
    """How a policy is served now: `state` for the color, and words."""

    state: Literal["active", "ending", "revoked"]
    words: str
    causes: tuple[str, ...] = ()


def describe_service(targets: int, unreachable: Sequence[str], usage: PolicyUsage, *, is_outdated: bool) -> Service:
    """Describe what an operator must know first; `unreachable` says why some of the `targets` cannot be reached."""
    causes = tuple(unreachable)
    if causes and len(causes) == targets:
        return Service("revoked", "Backend unreachable", causes)
    if usage.upstream_failures > usage.requests * FAILING_SHARE:
        return Service("revoked", "Backend failing", causes)
    if causes:
        return Service("ending", f"{len(causes)} of {targets} backends unreachable", causes)
    return Service("ending", "Older than its file") if is_outdated else Service("active", "Served")


def summarize(usages: Sequence[PolicyUsage]) -> Summary:
    """Add up what was counted for each policy, and for requests that matched none."""
    refusals: Counter[str] = Counter()
    caches: Counter[str] = Counter()
    for usage in usages:
        refusals.update(usage.refusals)
        caches.update(usage.caches)
    from_cache = caches[HIT] + caches[STALE] + caches[NOT_MODIFIED]
    return Summary(
        requests=sum(usage.requests for usage in usages),
        refused=refusals.total(),
        refusals=dict(refusals.most_common(MOST_REASONS)),
        from_cache=from_cache,
        cacheable=from_cache + caches[MISS],
        not_modified=caches[NOT_MODIFIED],
        upstream_failures=sum(usage.upstream_failures for usage in usages),
    )


_ACTIONS: Mapping[Action, tuple[str, str]] = {
    Action.CREATE: ("created", "create it"),
    Action.EXCHANGE: ("got by an ID token", "get it by an ID token"),
    Action.IMPORT: ("imported", "import it"),
    Action.UPDATE: ("changed", "change it"),
    Action.OVERRIDE: ("changed a limit of", "change a limit of it"),
    Action.ROTATE: ("rotated", "rotate it"),
    Action.REVOKE: ("revoked", "revoke it"),
    Action.CHANGE_OWNER: ("changed the owner", "change the owner"),
    Action.PURGE: ("purged stored exports", "purge stored exports"),
}
_REFUSALS: Mapping[str, str] = {
    "name_taken": "the name is taken",
    "not_grantable": "it was more than may be given",
    "not_found": "there is none",
    "ended": "it was over",
    "changed_meanwhile": "somebody else was quicker",
}
_TIMES = ("not_before", "expires_at")
_QUIET = ("name", "project", "owner")
"""Fields that are left out for a new token, because they stand beside it."""


def describe_action(entry: AuditEntry) -> str:
    """Describe an entry's action: `rotated`, or an attempt and why it was refused. A switch is named by its effect."""
    done, attempted = _ACTIONS[entry.action]
    if entry.outcome != DONE:
        return f"tried to {attempted}, and was refused: {_REFUSALS.get(entry.outcome, 'it was not valid')}"
    if set(entry.changes) - {"disabled_by"} == {"is_active"}:
        return "enabled" if entry.changes["is_active"][1] else "disabled"
    return f"{done} of {entry.policy}" if entry.action is Action.PURGE else done


def describe_changes(entry: AuditEntry) -> Iterator[tuple[str, str, str]]:
    """Yield each field with its values before and after; texts are empty for nothing."""
    for field, (before, after) in entry.changes.items():
        if field in ("is_active", "disabled_by", "successor", "predecessor", "parent"):
            continue
        is_new = entry.action in (Action.CREATE, Action.EXCHANGE, Action.IMPORT)
        if is_new and field in _QUIET:
            continue
        words = field.replace("_", " ").replace("expires at", "expires")
        yield words, "" if is_new else _write(field, before), _write(field, after)


def _write(field: str, value: Any) -> str:
    if value is None or value == "":
        return "never" if field == "expires_at" else ""
    if field in _TIMES and isinstance(value, int):
        return describe_moment(value)
    return "yes" if value is True else str(value)
