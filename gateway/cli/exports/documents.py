"""`gateway export`: what is wrong with a document, and what a build would get of it, without a server."""

import json
import sys
from pathlib import Path
from typing import Any, get_args
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import click
import msgspec

from gateway.core.errors import BrokenDocument, ConfigurationError
from gateway.core.http.targets import parse_path
from gateway.core.tokens.text import BYTE_ORDER_MARK
from gateway.core.variants.checking import find_mistakes
from gateway.core.variants.documents import MAXIMUM_DOCUMENT_BYTES
from gateway.core.variants.formats import FORMATS, OFFERED
from gateway.core.variants.model import DocumentForm, DocumentKind, InvalidOptions, Rendered, Setting, Variant
from gateway.core.variants.options import CHOICES, LISTS
from gateway.core.variants.rendering import render as render_variant

TIMEOUT_SECONDS = 30
TREE = "tree"
"""The kind of a file that is itself a tree of the Community Group's format, not a document with one in `tokens`."""
OPTIONS: tuple[tuple[Setting, str, bool], ...] = (("lang", "--lang", False), ("mode", "--mode", False))


@click.group()
def export() -> None:
    """Work with the documents that exports are made of."""


kind_option = click.option(
    "--document",
    "kind",
    type=click.Choice([*get_args(DocumentKind), TREE]),
    help="What the file is; without it, what it looks like. A tree is a file in the Design Tokens format.",
)
policy_option = click.option(
    "--policy", "policy_file", metavar="FILE", help="A policy whose rule says how the backend writes the document."
)
path_option = click.option("--path", metavar="PATH", help="With --policy: the path of an export of that rule.")


@export.command()
@click.argument("source", metavar="FILE|URL")
@click.option("--format", "formats", multiple=True, metavar="NAME", help="Only as this format; may be repeated.")
@kind_option
@policy_option
@path_option
def check(source: str, formats: tuple[str, ...], kind: str | None, policy_file: str | None, path: str | None) -> None:
    """Find every mistake in a document: what the gateway would answer 502 for, and where.

    FILE may be - for standard input. Exit code 1 if there is a mistake.
    """
    content, form, is_tree = _read(source, kind, policy_file, path)
    for name in formats:
        _check_format(form.kind, name)
    mistakes = find_mistakes(content, form, formats)
    for mistake in mistakes:
        click.echo(_without_wrapping(mistake, is_tree), err=True)
    if mistakes:
        click.echo(f"{len(mistakes)} mistake(s)", err=True)
        sys.exit(1)
    click.echo(f"{source}: {'a tree of design tokens' if is_tree else form.kind}, no mistakes")


@export.command()
@click.argument("source", metavar="FILE|URL")
@click.option("--format", "format_", metavar="NAME", help="How it is written; without it, JSON.")
@click.option("--shape", type=click.Choice(CHOICES["shape"]), help="Whether the dots in keys make groups.")
@click.option("--pretty", is_flag=True, help="Indent it.")
@click.option("--bom", is_flag=True, help="Begin CSV with a byte order mark, for Excel.")
@click.option("--key", type=click.Choice(CHOICES["key"]), help="What entries go by.")
@click.option("--lang", help="Languages, with commas between them; without it, all.")
@click.option("--status", help="Statuses, with commas between them; without it, all.")
@click.option("--mode", help="The mode of design tokens; without it, the document's first.")
@click.option("--output", metavar="FILE", type=click.Path(dir_okay=False), help="Where to write it, not to the output.")
@kind_option
@policy_option
@path_option
def render(
    source: str, kind: str | None, policy_file: str | None, path: str | None, output: str | None, **chosen: Any
) -> None:
    """Write what a build would get of a document.

    FILE may be - for standard input. Exit code 1 if the document is broken or has no such mode or language.
    """
    content, form, is_tree = _read(source, kind, policy_file, path)
    variant = _build_variant(form.kind, {name.rstrip("_"): value for name, value in chosen.items() if value})
    try:
        found = render_variant(content, form, variant)
    except BrokenDocument as broken:
        click.echo(_without_wrapping(str(broken), is_tree), err=True)
        sys.exit(1)
    if isinstance(found, InvalidOptions):
        click.echo(found.detail, err=True)
        sys.exit(1)
    _write(found, output)


def _build_variant(kind: DocumentKind, chosen: dict[str, Any]) -> Variant:
    for name in chosen:
        if name not in OFFERED[kind]:
            raise click.UsageError(f"--{name} is not for {kind}")
    _check_format(kind, chosen.get("format", "json"))
    for name in LISTS & chosen.keys():
        chosen[name] = tuple(sorted({one.strip() for one in chosen[name].split(",")}))
    variant = Variant(**chosen)
    if FORMATS[kind][variant.format].has_one_language and len(variant.lang or ()) != 1:
        raise click.UsageError(
            f"--format {variant.format} is in one language: say which with --lang, such as --lang de"
        )
    return variant


def _check_format(kind: DocumentKind, name: str) -> None:
    if name not in FORMATS[kind]:
        raise click.UsageError(f"--format of {kind} must be one of {', '.join(FORMATS[kind])}")


def _write(found: Rendered, output: str | None) -> None:
    if output is None:
        sys.stdout.buffer.write(found.content)
        sys.stdout.buffer.flush()
        return
    try:
        Path(output).write_bytes(found.content)
    except OSError as error:
        raise ConfigurationError(f"{output}: {error.strerror}") from error


def _read(source: str, kind: str | None, policy_file: str | None, path: str | None) -> tuple[bytes, DocumentForm, bool]:
    """Return the document, its form, and whether it is a tree that was wrapped in a document here."""
    content = _fetch(source).removeprefix(BYTE_ORDER_MARK)
    if (policy_file is None) != (path is None):
        raise click.UsageError("--policy and --path belong together")
    if policy_file is not None and path is not None:
        return content, msgspec.structs.replace(_form_of_rule(policy_file, path), asked=OPTIONS), False
    kind = kind or _guess(content, source)
    if kind == TREE:
        return b'{"tokens":' + content + b"}", DocumentForm("design-tokens", asked=OPTIONS), True
    return content, DocumentForm("translations" if kind == "translations" else "design-tokens", asked=OPTIONS), False


def _form_of_rule(file: str, path: str) -> DocumentForm:
    from gateway.adapters.policy_files import read_policies  # noqa: PLC0415 - a file alone needs no policies

    policies = read_policies(Path(file), {})
    for policy in policies.policies.values():
        rule = policies.match(policy.hosts[0] if policy.hosts else "", "GET", parse_path(path) or ())
        if rule is not None and rule.variants is not None:
            return rule.variants.form
    raise ConfigurationError(f"{file}: no rule with variants is for {path}")


def _guess(content: bytes, source: str) -> str:
    """Return the likely kind of a file. A tree may have a group named `tokens`, beside others."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return "design-tokens"  # of any kind: its reader reports the mistake
    if isinstance(value, dict) and isinstance(value.get("entries"), list):
        return "translations"
    if isinstance(value, dict) and (
        isinstance(value.get("tokens"), list) or "modes" in value or [*value] == ["tokens"]
    ):
        return "design-tokens"
    if isinstance(value, dict):
        return TREE
    raise ConfigurationError(f"{source}: neither translations nor design tokens: name what it is with --document")


def _fetch(source: str) -> bytes:
    try:
        if source == "-":
            return sys.stdin.buffer.read(MAXIMUM_DOCUMENT_BYTES + 1)
        if source.startswith(("http://", "https://")):
            if urlsplit(source).password is not None:
                raise ConfigurationError(
                    "FILE|URL: everybody on this machine can read the arguments of a process, so no password may stand "
                    "there: fetch the document with a program that is told it otherwise, and give it as -"
                )
            with urlopen(source, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - its scheme is looked at above
                content: bytes = answer.read(MAXIMUM_DOCUMENT_BYTES + 1)
                return content
        return Path(source).read_bytes()
    except HTTPError as error:
        error.close()
        raise ConfigurationError(f"{source}: {error.code} {error.reason}") from None
    except URLError as error:
        raise ConfigurationError(f"{source}: {error.reason}") from None
    except OSError as error:
        raise ConfigurationError(f"{source}: {error.strerror or error}") from None


def _without_wrapping(mistake: str, is_tree: bool) -> str:
    return mistake.replace("$.tokens", "$", 1) if is_tree and mistake.startswith("$.tokens") else mistake
