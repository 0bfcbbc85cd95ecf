"""The `gateway` command line. A command is imported when it is used: see lazy.py."""

import gc
import logging
import sys

import click

from gateway import __version__
from gateway.cli.lazy import LazyGroup, Listed
from gateway.cli.process.masked import mask_errors
from gateway.core.errors import ChangeRefused, GatewayError

COMMANDS = {
    "init": Listed(
        "gateway.cli.init:init", "Write a small policy, explained line by line, into FOLDER (default: policies)."
    ),
    "serve": Listed(
        "gateway.cli.serve:serve",
        "Serve requests until stopped (SIGTERM, Ctrl+C), then let those under way end.",
    ),
    "token": Listed("gateway.cli.main:token", "Mint, list, change, rotate and revoke tokens."),
    "owner": Listed("gateway.cli.main:owner", "Say what the owners of tokens may do, and block or remove them."),
    "policy": Listed("gateway.cli.main:policy", "Work with policy files."),
    "pull": Listed("gateway.cli.exports.pull:pull", "Pull exports into files, and only what has changed."),
    "export": Listed("gateway.cli.exports.documents:export", "Work with the documents that exports are made of."),
    "cache": Listed("gateway.cli.cache:cache", "Work with stored exports."),
    "audit": Listed("gateway.cli.audit:audit", "See the history of changes."),
    "backup": Listed(
        "gateway.cli.moving.backup:backup",
        "Write tokens, revocations, owners, overrides and history to FILE, or to standard output: digests, never "
        "texts.",
    ),
    "restore": Listed(
        "gateway.cli.moving.backup:restore",
        "Bring a backup back. What is in Redis already stays, and what was revoked since is revoked.",
    ),
    "redis": Listed("gateway.cli.redis:redis", "Check a Redis, or say that an empty one is meant."),
    "verify-backend": Listed(
        "gateway.cli.exports.verify_backend:verify_backend",
        "Say whether a backend can be reached past the gateway, and what it then believes of a client.",
    ),
    "demo": Listed(
        "gateway.demo.story:demo",
        "Show the gateway at work: mint a token, pull an export, reach a limit, revoke the token.",
    ),
}

TOKEN = {
    "create": Listed("gateway.cli.token:create", "Mint a token. Its text is printed now and never again."),
    "import": Listed(
        "gateway.cli.token:import_token",
        "Take over a token that exists elsewhere: its text stays valid, and nothing of it is kept but its beginning.",
    ),
    "list": Listed(
        "gateway.cli.token_show:list_tokens",
        "List tokens, newest first: never their text, only its first characters.",
    ),
    "show": Listed("gateway.cli.token_show:show", "Show all that is known of a token, none of it secret."),
    "update": Listed(
        "gateway.cli.token:update",
        "Change a token in place: its text stays valid, the change acts on the next request.",
    ),
    "override": Listed(
        "gateway.cli.token:override",
        'Give a token a limit of its own for a while: LIMIT is a number, or "1000/minute" of the quota\'s window.',
    ),
    "rotate": Listed(
        "gateway.cli.token:rotate",
        "Mint a successor of a token, with its settings and its counters; the old one ends after the overlap.",
    ),
    "revoke": Listed(
        "gateway.cli.token:revoke", "End tokens for good: the next request with one is refused, everywhere."
    ),
    "export": Listed(
        "gateway.cli.moving.export:export_tokens",
        "Print the tokens of a policy as JSON lines, for a backup: digests, never texts.",
    ),
    "scan": Listed(
        "gateway.cli.leaks.scan:scan",
        "Find tokens in a file, a folder, standard input (-) or the history of a git repository (--git).",
    ),
    "patterns": Listed(
        "gateway.cli.leaks.patterns:patterns",
        "Print rules for SCANNER to find tokens: gitleaks, trufflehog, detect-secrets, or github (custom patterns).",
    ),
    "explain": Listed(
        "gateway.cli.token_show:explain",
        "Say why a request with a token would pass or be refused, check by check. Nothing is charged or noted.",
    ),
}

OWNER = {
    "set": Listed(
        "gateway.cli.owner:set_owner",
        "Say what an owner may do, and its plan; it acts on the next request of each of its tokens.",
    ),
    "show": Listed("gateway.cli.owner:show", "Show what an owner may do, and how many tokens it has."),
    "remove": Listed(
        "gateway.cli.owner:remove",
        "Refuse all tokens of an owner until it is set again; `token revoke --owner` ends them for good.",
    ),
    "list": Listed(
        "gateway.cli.owner:list_owners",
        "List a policy's owners that have a record. Those without one are names only, and bound nothing.",
    ),
}


POLICY = {
    "check": Listed("gateway.cli.policies.files:check", "Find every mistake of the policy files, and run their tests."),
    "schema": Listed(
        "gateway.cli.policies.files:schema",
        "Print the JSON Schema of policy files, for editors; or that of a kind of document, for backends.",
    ),
    "versions": Listed(
        "gateway.cli.policies.files:versions",
        "Show which versions of each policy are served, and by whom. Exit code 1 if a policy has more than one.",
    ),
    "diff": Listed(
        "gateway.cli.policies.diff:diff",
        "Say what the policies of NEW change for whom, compared with those of OLD; each is a file or a folder.",
    ),
    "simulate": Listed(
        "gateway.cli.policies.simulate:simulate",
        "Replay access logs through the policies of --policies, by the code that decides in production.",
    ),
}


@click.group(cls=LazyGroup, table=TOKEN)
def token() -> None:
    """Mint, list, change, rotate and revoke tokens."""


@click.group(cls=LazyGroup, table=POLICY)
def policy() -> None:
    """Work with policy files."""


@click.group(cls=LazyGroup, table=OWNER)
def owner() -> None:
    """Say what the owners of tokens may do, and block or remove them."""


@click.group(cls=LazyGroup, table=COMMANDS)
@click.version_option(__version__, prog_name="gateway")
def commands() -> None:
    """Put API tokens, quotas and cached exports in front of existing backends."""


def main() -> None:
    """Run the command line. What is wrong is printed to standard error, one `place: message` a line, without tokens.

    The exit code is 1 if the command was refused: there is no such thing, or it may not be done. Else it is 2.
    """
    mask_errors()
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # errors are said once, below; `serve` sets up more
    try:
        commands(standalone_mode=True)
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, ChangeRefused) else 2)
    finally:
        gc.freeze()  # Python would search all modules for garbage before it exits: a fifth of a short command's time
