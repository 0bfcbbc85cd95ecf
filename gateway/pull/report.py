"""What a run prints: lines, a progress bar on a terminal, annotations on GitHub, a section on GitLab.

No line has a token in it, even if a server sends one back.
"""

import os
import sys
import threading
from collections.abc import Callable, Collection
from datetime import UTC, datetime

import click

from .model import Export, Outcome, Result
from .pulling import Progress

DAY_SECONDS = 86400
SHORTEST_SECRET = 8
"""Characters of a token that is masked; what is shorter would be found in ordinary words."""
_ESCAPES = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})


class Report(Progress):
    """Prints what happens. With `is_json` nothing but what went wrong, to standard error."""

    def __init__(self, secrets: Collection[str], unix: Callable[[], float], *, is_json: bool, is_check: bool) -> None:
        self._secrets = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
        self._unix = unix
        self._is_json = is_json
        self._is_check = is_check
        self._is_github = os.environ.get("GITHUB_ACTIONS") == "true"
        self._is_gitlab = os.environ.get("GITLAB_CI") == "true" and not is_json
        self._warned: set[str] = set()
        self._lengths: dict[Export, int] = {}
        self._lock = threading.RLock()
        self._bar = click.progressbar(length=0, label="pulling", file=sys.stderr)
        self._shows_bar = sys.stderr.isatty() and not is_json

    def __enter__(self) -> "Report":
        if self._is_gitlab:
            click.echo(f"\x1b[0Ksection_start:{self._unix():.0f}:gateway_pull\r\x1b[0KPull exports", color=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._clear_bar()
        if self._is_gitlab:
            click.echo(f"\x1b[0Ksection_end:{self._unix():.0f}:gateway_pull\r\x1b[0K", color=True)

    def hide(self, secret: str) -> None:
        """Mask one more in all that is printed from now on."""
        if len(secret) >= SHORTEST_SECRET:
            self._secrets.append(secret)

    def received(self, export: Export, count: int, length: int) -> None:
        """Move the bar on."""
        if not self._shows_bar:
            return
        with self._lock:
            self._lengths.setdefault(export, length)
            self._bar.length = max(sum(self._lengths.values()), self._bar.pos + count)
            self._bar.update(count)

    def waits(self, export: Export, seconds: float, reason: str) -> None:
        """Print why, and how long."""
        self._print(f"{export.output}: trying again in {seconds:.0f} s: {reason}", to_error=True)

    def ended(self, outcome: Outcome) -> None:
        """Print what came of an export, and warn of a token that expires soon."""
        with self._lock:
            if outcome.token_expires_at and outcome.token_expires_at not in self._warned:
                self._warned.add(outcome.token_expires_at)
                self._annotate("warning", self._warn_of_expiry(outcome.token_expires_at))
            if outcome.message:
                self._annotate("error", f"{outcome.file}: {outcome.message}")
                return
            word = "would change" if self._is_check and outcome.result is Result.CHANGED else str(outcome.result)
            if not self._is_json:
                self._print(f"{outcome.file}: {word} ({outcome.status}, {outcome.received_bytes} bytes received)")

    def mask(self, text: str) -> str:
        """Return the text without tokens."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _warn_of_expiry(self, text: str) -> str:
        try:
            days = int((datetime.fromisoformat(text).timestamp() - self._unix()) // DAY_SECONDS)
        except ValueError:
            return "the token expires soon: create a new one, and replace the secret of your CI system"
        left = "today" if days < 1 else f"in {days} day{'s' * (days > 1)}"
        day = datetime.fromisoformat(text).astimezone(UTC).date()
        return f"the token expires {left}, on {day}: create a new one, and replace the secret of your CI system"

    def _annotate(self, level: str, text: str) -> None:
        if self._is_github:
            self._print(f"::{level} title=gateway pull::{text.translate(_ESCAPES)}", to_error=True)
        else:
            self._print(f"{level}: {text}", to_error=True)

    def _print(self, line: str, *, to_error: bool = False) -> None:
        with self._lock:
            self._clear_bar()
            click.echo(self.mask(line), err=to_error)

    def _clear_bar(self) -> None:
        if self._shows_bar:
            click.echo("\r\x1b[2K", nl=False, err=True)
