"""`gateway verify-backend`: whether a backend can be reached past the gateway, and what it believes then."""

import sys
from functools import partial
from urllib.parse import urlsplit

import click
import msgspec

from gateway.adapters.backend_probe import ask_backend
from gateway.cli.common import json_option
from gateway.core.upstream.trust import NoAnswer, build_probes, judge


@click.command("verify-backend")
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option("--project", default="website", show_default=True, help="The project that is claimed.")
@click.option("--owner", default="operator", show_default=True, help="The owner that is claimed.")
@json_option
def verify_backend(urls: tuple[str, ...], project: str, owner: str, as_json: bool) -> None:
    """Say whether a backend can be reached past the gateway, and what it then believes of a client.

    URL is an address of the backend itself, with a path that needs a token. Run it where clients are, not beside the
    gateway. It sends GET requests without and with forged fields, and compares the answers. The exit code is 1 if a
    backend answers at all.
    """
    for url in urls:
        if urlsplit(url).scheme not in ("http", "https"):
            raise click.UsageError(f"{url!r} is no URL such as http://10.0.0.5:9001/api/v1/export")
    verdicts = {url: judge(partial(ask_backend, url), build_probes(project, owner)) for url in urls}
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(verdicts), indent=2).decode())
    for url, verdict in verdicts.items() if not as_json else ():
        if isinstance(verdict, NoAnswer):
            click.echo(f"{url}: cannot be reached from here ({verdict.reason})")
        for trust in verdict if isinstance(verdict, list) else ():
            click.echo(f"{url}: {trust.what}; {trust.advice}")
    sys.exit(any(isinstance(verdict, list) for verdict in verdicts.values()))
