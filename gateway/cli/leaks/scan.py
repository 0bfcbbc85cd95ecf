"""`gateway token scan`: tokens that are where they should not be."""

import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway.adapters import leak_sources
from gateway.adapters.leak_sources import Reader, Window
from gateway.cli.common import json_option, pepper_option, policies_option, redis_option
from gateway.cli.connecting import PolicyFolder, awaited, load_policies, open_management, operator
from gateway.cli.token_show import print_json
from gateway.core.errors import ChangeRefused
from gateway.core.leaks.finding import Finder
from gateway.core.tokens.changes import TokenState
from gateway.core.tokens.text import ADMIN_FORMAT, TokenFormat, shown_part
from gateway.core.tokens.views import TokenView

UNKNOWN, UNASKED = "unknown", "not looked up"
"""States of texts that the store does not know, or that it was not asked for."""
ENDED = (TokenState.REVOKED, TokenState.EXPIRED, UNKNOWN)
"""States of tokens that nobody can use any more."""
MOST_PLACES = 5
"""Places of one token that are printed; --json prints all."""


class Leak(msgspec.Struct):
    """A text that was found, with its places. The text is never shown."""

    shown: str
    is_checked: bool
    places: list[str]
    state: str = UNASKED
    id: str = ""
    policy: str = ""
    name: str = ""

    @property
    def is_ended(self) -> bool:
        """Whether nobody can use it."""
        return self.state in ENDED


@click.command()
@click.argument("place", metavar="PATH")
@click.option(
    "--git", "is_git", is_flag=True, help="PATH is a git repository: read all of its objects, packs included."
)
@click.option(
    "--revoke", "revokes", is_flag=True, help="Revoke the tokens that work, with all that was made with them."
)
@click.option("--yes", is_flag=True, help="Revoke more than one token.")
@click.option("--offline", is_flag=True, help="Look up nothing.")
@pepper_option
@policies_option
@redis_option
@json_option
@awaited
async def scan(
    place: str,
    is_git: bool,
    revokes: bool,
    yes: bool,
    offline: bool,
    pepper: str,
    policies: str,
    redis_url: str | None,
    as_json: bool,
) -> None:
    """Find tokens in a file, a folder, standard input (-) or the history of a git repository (--git).

    Archives are read too (zip, tar, gz, bz2, xz). A text counts if it has the prefix, the length and the checksum of a
    policy's tokens. Its digest is looked up in Redis, to say whether it still works; the text goes nowhere and is not
    printed. The exit code is 1 if a token was found that may work.
    """
    if place == "-" and is_git:
        raise click.UsageError("--git needs the path of a repository")
    formats = [policy.token_format for policy in load_policies(policies).policies.values()] + [ADMIN_FORMAT]
    leaks = find_leaks(place, formats, is_git=is_git)
    if not offline and redis_url and leaks:
        async with open_management(redis_url, PolicyFolder(policies), pepper) as management:
            views = {text: await management.find_presented(text) for text in leaks}
            describe(leaks, views)
            live = [view.identity for view in views.values() if view and view.state not in ENDED]
            if revokes:
                if len(live) > 1 and not yes:
                    raise ChangeRefused(f"this would revoke {len(live)} tokens: say --yes if that is meant")
                for identity in live:
                    await management.revoke_with_made(operator(), identity)
                describe(leaks, {text: await management.find_presented(text) for text in leaks})
    elif revokes and leaks:
        raise click.UsageError("--revoke needs to look tokens up: name the store with --redis")
    found = [leak for leak in leaks.values() if leak.is_checked or leak.state not in (UNASKED, UNKNOWN)]
    print_leaks(found, as_json=as_json)
    sys.exit(any(not leak.is_ended for leak in found))


def find_leaks(place: str, formats: Iterable[TokenFormat], *, is_git: bool) -> dict[str, Leak]:
    """Return what is found, by its text, with a progress bar on a terminal."""
    known = list(formats)
    finder = Finder(known)
    files = [] if is_git or place == "-" else leak_sources.list_files(Path(place))
    size = leak_sources.measure_repository(Path(place)) if is_git else leak_sources.measure_files(files)
    told: list[str] = []
    leaks: dict[str, Leak] = {}
    with click.progressbar(length=size, label="scanning", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        reader = Reader(finder.overlap, told.append, bar.update)
        for window in read(reader, place, files, is_git=is_git):
            for found in finder.find_tokens(window.content):
                line = window.line + window.content.count(b"\n", 0, found.offset)
                where = window.place if is_git else f"{window.place}:{line}"
                shown = next(shown_part(found.text, one) for one in known if found.text.startswith(one.prefixes))
                leak = leaks.setdefault(found.text, Leak(shown, found.is_checked, []))
                if where not in leak.places:
                    leak.places.append(where)
    for message in told:
        click.echo(f"gateway: {message}", err=True)
    if is_git:
        name_commits(Path(place), leaks.values())
    return leaks


def read(reader: Reader, place: str, files: list[Path], *, is_git: bool) -> Iterator[Window]:
    """Yield the contents of the place."""
    if is_git:
        return reader.read_repository(Path(place))
    if place == "-":
        return reader.read_stream("standard input", sys.stdin.buffer)
    return reader.read_files(files)


def name_commits(folder: Path, leaks: Collection[Leak]) -> None:
    """Replace objects of a repository, or members of archives that are objects, by commits and paths."""
    names = {place.partition("!")[0] for leak in leaks for place in leak.places}
    commits = leak_sources.find_commits(folder, names) if names else {}
    for leak in leaks:
        parts = [place.partition("!") for place in leak.places]
        leak.places = sorted(commits[name] + mark + member for name, mark, member in parts)


def describe(leaks: dict[str, Leak], views: dict[str, TokenView | None]) -> None:
    """Write into the leaks what the store knows of them."""
    for text, view in views.items():
        leak = leaks[text]
        leak.state = UNKNOWN if view is None else str(view.state)
        if view is not None:
            leak.id, leak.policy, leak.name = view.identity, view.record.policy, view.record.name


def print_leaks(leaks: list[Leak], *, as_json: bool) -> None:
    """Print what was found: those that may work first."""
    leaks.sort(key=lambda leak: (leak.is_ended, leak.places))
    if as_json:
        described: Any = msgspec.to_builtins(leaks)
        print_json(described)
        return
    for leak in leaks:
        who = f"  {leak.id} ({leak.name}, {leak.policy})" if leak.id else ""
        click.echo(f"{leak.shown}...  {leak.state}{who}")
        for place in leak.places[:MOST_PLACES]:
            click.echo(f"    {place}")
        if len(leak.places) > MOST_PLACES:
            click.echo(f"    and {len(leak.places) - MOST_PLACES} more places")
    live = sum(not leak.is_ended for leak in leaks)
    click.echo(f"Found {len(leaks)} token(s), {live} of which may work.")
