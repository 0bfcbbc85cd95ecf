"""`gateway token patterns`: rules for other scanners."""

import click

from gateway.cli.common import policies_option
from gateway.cli.connecting import load_policies
from gateway.core.leaks.patterns import FORMS
from gateway.core.tokens.admin_tokens import ADMIN


@click.command()
@click.argument("form", metavar="SCANNER", type=click.Choice(list(FORMS)))
@policies_option
def patterns(form: str, policies: str) -> None:
    """Print rules for SCANNER to find tokens: gitleaks, trufflehog, detect-secrets, or github (custom patterns).

    They are for the tokens of all policies, and for admin tokens.
    """
    click.echo(FORMS[form]([*load_policies(policies).policies.values(), ADMIN]), nl=False)
