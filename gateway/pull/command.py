"""The command `gateway pull`, which is also `gateway-pull`."""

import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec

from . import __version__
from .exchange import ID_TOKEN_VARIABLE, Failed, IdTokenSource, exchange, find_source
from .manifest import check_exports, read_manifest
from .model import DEFAULT_FIELD, DEFAULT_VARIABLE, Export, Outcome, exit_code
from .pace import Clock
from .pulling import Run, pull_all
from .report import Report
from .transport import Transport

_DURATION = re.compile(r"(\d{1,6})(s|m|h|)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def read_seconds(_: click.Context, __: click.Parameter, text: str) -> int:
    """Return the seconds of 90s, 10m or 1h. Raises click.BadParameter."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no duration such as 90s, 10m or 1h")
    return int(found[1]) * _SECONDS[found[2]]


@click.command(
    epilog="Exit codes: 0 all is well, 10 changed (only with --check or --exit-code), 2 a mistake in the "
    "command, 3 refused, 4 unreachable, 5 limited, 6 damaged on the way, 7 the file cannot be written."
)
@click.argument("urls", metavar="[URL]...", nargs=-1)
@click.option("-o", "--output", "outputs", metavar="FILE", multiple=True, help="File of the URL; once for each URL.")
@click.option("--manifest", type=click.Path(path_type=Path), metavar="FILE", help="TOML file that lists exports.")
@click.option(
    "--token-variable",
    metavar="NAME",
    default="",
    help="Variable that has the token  [default: "
    f"{DEFAULT_VARIABLE}]. A token is never an argument: everybody on the machine can read these.",
)
@click.option(
    "--id-token-variable",
    metavar="NAME",
    default=ID_TOKEN_VARIABLE,
    show_default=True,
    help="Variable that has an ID token of the CI job, which is exchanged if there is no token.",
)
@click.option(
    "--audience", metavar="TEXT", default="", help="Audience of ID tokens that are asked for  [default: the server]."
)
@click.option("--field", metavar="NAME", default="", help=f"Field that carries the token  [default: {DEFAULT_FIELD}].")
@click.option(
    "--state",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that remembers what was pulled; without it, FILE.pull does.",
)
@click.option("--check", "is_check", is_flag=True, help="Write nothing; exit with 10 if an export would change.")
@click.option("--exit-code", "tells_changes", is_flag=True, help="Exit with 10 if an export has changed.")
@click.option("--json", "is_json", is_flag=True, help="Print what came of each export as JSON.")
@click.option("--parallel", type=click.IntRange(1, 32), default=4, show_default=True, help="Most exports at a time.")
@click.option(
    "--total-time",
    callback=read_seconds,
    default="10m",
    show_default=True,
    metavar="DURATION",
    help="Time for everything, with all attempts.",
)
@click.option(
    "--ca",
    "ca_file",
    type=click.Path(exists=True, dir_okay=False),
    default=None,
    metavar="FILE",
    help="PEM file of the authorities to trust; also SSL_CERT_FILE.",
)
@click.option("--plain-http", is_flag=True, help="Allow http:// to other hosts than this one.")
def pull(
    urls: tuple[str, ...],
    outputs: tuple[str, ...],
    manifest: Path | None,
    token_variable: str,
    id_token_variable: str,
    audience: str,
    field: str,
    state: Path | None,
    is_check: bool,
    tells_changes: bool,
    is_json: bool,
    parallel: int,
    total_time: int,
    ca_file: str | None,
    plain_http: bool,
) -> None:
    """Pull exports into files, and only what has changed.

    The file is replaced after all of it has arrived and was verified; a 304 and every failure leave it as it was. What
    may pass by itself is tried again. HTTPS_PROXY and NO_PROXY are obeyed. Without a token, the ID token of a job on
    GitHub, GitLab, CircleCI or Buildkite is exchanged for one.
    """
    if len(urls) != len(outputs):
        raise click.UsageError(f"{len(urls)} URLs and {len(outputs)} files: name one -o FILE for each URL")
    exports = [
        Export(url, Path(output), token_variable or DEFAULT_VARIABLE, field or DEFAULT_FIELD)
        for url, output in zip(urls, outputs, strict=True)
    ]
    if manifest is not None:
        exports += read_manifest(manifest, token_variable, field)
    check_exports(exports, allows_http=plain_http)
    stopped = threading.Event()
    clock = Clock(time.monotonic, time.time, stopped.wait)
    transport = Transport(ca_file or "", stopped)
    source = find_source(os.environ, id_token_variable, transport)
    tokens = read_tokens(exports, os.environ, may_lack=source is not None)
    deadline = time.monotonic() + total_time
    with Report(tokens.values(), time.time, is_json=is_json, is_check=is_check) as report:
        run = Run(transport, clock, tokens, report, deadline, stopped.set, state, is_check, parallel)
        try:
            outcomes = pull_with_tokens(run, report, exports, source, audience)
        finally:
            stopped.set()
    if is_json:
        click.echo(report.mask(encode(outcomes)))
    raise SystemExit(exit_code(outcomes, tells_changes=tells_changes or is_check))


def pull_with_tokens(
    run: Run, report: Report, exports: Sequence[Export], source: IdTokenSource | None, audience: str
) -> list[Outcome]:
    """Exchange ID tokens for the tokens that are lacking, pull, and return what came of each export, in their order."""
    tokens, failures = dict(run.tokens), dict[tuple[str, str], Failed]()
    for export in exports:
        if source is not None and export.holder not in tokens and export.holder not in failures:
            got = exchange(run.transport, run.clock, source, export, audience, run.deadline, report.hide)
            if isinstance(got, Failed):
                failures[export.holder] = got
            else:
                tokens[export.holder] = got
    marked = [msgspec.structs.replace(one, is_exchanged=one.holder not in run.tokens) for one in exports]
    ready = [export for export in marked if export.holder in tokens]
    pulled = dict(zip(ready, pull_all(msgspec.structs.replace(run, tokens=tokens), ready), strict=True))
    for export in marked:
        if export not in pulled:
            failed = failures[export.holder]
            pulled[export] = Outcome(export.url, str(export.output), failed.result, message=failed.message)
            report.ended(pulled[export])
    return [pulled[export] for export in marked]


def read_tokens(
    exports: Sequence[Export], environment: Mapping[str, str], *, may_lack: bool = False
) -> dict[tuple[str, str], str]:
    """Return the token of each `Export.holder`. Raises click.UsageError, which never has the token in it.

    `may_lack` if one that is lacking can be had otherwise.
    """
    tokens = {}
    for export in exports:
        variable = export.token_variable
        if not _VARIABLE.fullmatch(variable):
            raise click.UsageError("--token-variable takes the name of a variable, such as GATEWAY_TOKEN")
        if not _FIELD.fullmatch(export.field):
            raise click.UsageError(f"{export.field!r} is no name of a field, such as X-API-Key")
        token = environment.get(variable, "").strip()
        if not token and may_lack:
            continue
        if not token:
            raise click.UsageError(
                f"the variable {variable} is empty: set it to the token, from a secret of your CI system; or let the "
                "job have an ID token (on GitHub `permissions: id-token: write`, on GitLab `id_tokens`)"
            )
        if any(one <= " " or one >= "\x7f" for one in token):
            raise click.UsageError(f"the variable {variable} has more than a token in it: a space or a line break")
        tokens[export.holder] = token
    return tokens


def encode(outcomes: list[Outcome]) -> str:
    """Return what `--json` prints."""
    return msgspec.json.format(msgspec.json.encode({"exports": outcomes}), indent=2).decode()


def main() -> None:
    """Run the command as a program of its own."""
    click.version_option(__version__, prog_name="gateway-pull")(pull)(prog_name="gateway-pull")
