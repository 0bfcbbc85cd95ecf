"""The manifest: a TOML file that lists exports and their files."""

import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import click
import msgspec

from .model import DEFAULT_FIELD, DEFAULT_VARIABLE, Export

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class ListedExport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table `[[exports]]`; empty texts are those of the manifest."""

    url: str
    output: str
    token_variable: str = ""
    field: str = ""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. Paths are relative to its folder."""

    exports: list[ListedExport]
    token_variable: str = ""
    field: str = ""


def read_manifest(path: Path, token_variable: str, field: str) -> list[Export]:
    """Return the exports of a manifest; the arguments stand in for what it leaves open. Raises click.UsageError."""
    try:
        manifest = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Manifest)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise click.UsageError(f"{path}: {error}") from error
    return [
        Export(
            url=listed.url,
            output=path.parent / listed.output,
            token_variable=listed.token_variable or manifest.token_variable or token_variable or DEFAULT_VARIABLE,
            field=listed.field or manifest.field or field or DEFAULT_FIELD,
        )
        for listed in manifest.exports
    ]


def check_exports(exports: list[Export], *, allows_http: bool) -> None:
    """Refuse what cannot be pulled, or would show a token. Raises click.UsageError."""
    if not exports:
        raise click.UsageError("name at least one URL with its file (URL -o FILE), or a manifest with --manifest")
    files: set[Path] = set()
    for export in exports:
        _check_url(export.url, allows_http=allows_http)
        if export.output.is_dir() or not export.output.name:
            raise click.UsageError(f"{export.output} is a folder; name the file in it")
        if (path := export.output.resolve()) in files:
            raise click.UsageError(f"{export.output} is named twice; two exports cannot have one file")
        files.add(path)


def _check_url(url: str, *, allows_http: bool) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise click.UsageError(f"a URL cannot be read: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise click.UsageError(f"the URL of {host} has a user name; put the token into a variable, never into a URL")
    if parts.scheme not in ("http", "https") or not host or any(one <= " " or one >= "\x7f" for one in url):
        raise click.UsageError(f"{url!r} is no URL such as https://api.example.com/api/v1/export, percent-encoded")
    if parts.scheme == "http" and host not in LOOPBACK and not allows_http:
        raise click.UsageError(
            f"http://{host} would send the token unencrypted; use https, or add --plain-http if nobody else can read "
            "that network"
        )
