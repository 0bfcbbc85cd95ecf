"""`gateway token`: its commands stand in the files beside this one."""

import click

from gateway.cli.lazy import LazyGroup, Listed

COMMANDS = {
    "create": Listed("gateway.cli.token.creating:create", "Mint a token. Its text is printed now and never again."),
    "import": Listed(
        "gateway.cli.token.creating:import_token",
        "Take over a token that exists elsewhere: its text stays valid, and nothing of it is kept but its beginning.",
    ),
    "list": Listed(
        "gateway.cli.token.listing:list_tokens",
        "List tokens, newest first: never their text, only its first characters.",
    ),
    "show": Listed("gateway.cli.token.listing:show", "Show all that is known of a token, none of it secret."),
    "update": Listed(
        "gateway.cli.token.changing:update",
        "Change a token in place: its text stays valid, the change acts on the next request.",
    ),
    "override": Listed(
        "gateway.cli.token.overriding:override",
        'Give a token a limit of its own for a while: LIMIT is a number, or "1000/minute" of the quota\'s window.',
    ),
    "rotate": Listed(
        "gateway.cli.token.rotating:rotate",
        "Mint a successor of a token, with its settings and its counters; the old one ends after the overlap.",
    ),
    "revoke": Listed(
        "gateway.cli.token.revoking:revoke", "End tokens for good: the next request with one is refused, everywhere."
    ),
    "explain": Listed(
        "gateway.cli.token.explaining:explain",
        "Say why a request with a token would pass or be refused, check by check. Nothing is charged or noted.",
    ),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def token() -> None:
    """Mint, list, change, rotate and revoke tokens."""
