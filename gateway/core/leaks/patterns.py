"""Rules by which other scanners find tokens of the policies: gitleaks, TruffleHog, detect-secrets, GitHub.

Only detect-secrets runs code, so only its rule looks at the checksum. The others know prefix, characters and length.
"""

import json
import re
from collections.abc import Callable, Mapping

from gateway.core.policies.model import Policy
from gateway.core.tokens.text import BASE62, mint, random_bytes_needed

EXAMPLE_BYTES = b"\x00"
"""What the example of a custom pattern is minted of: a token that nobody has, as it is not random."""


def build_regex(policy: Policy) -> str:
    """Return what matches a token of the policy, in the syntax that RE2, Hyperscan and Python share."""
    prefixes = "|".join(re.escape(prefix) for prefix in policy.token_format.prefixes)
    group = f"(?:{prefixes})" if "|" in prefixes else prefixes
    return f"{group}[0-9A-Za-z]{{{policy.token_format.length}}}"


def _name(policy: Policy) -> str:
    """Return the name of a rule; the policy of admin tokens has none."""
    return f"gateway-{policy.name or 'admin'}"


def build_gitleaks(policies: list[Policy]) -> str:
    """Return rules for gitleaks, to be written into .gitleaks.toml."""
    rules = [
        f"[[rules]]\nid = {json.dumps(_name(policy))}\n"
        f"description = {json.dumps(f'A token of the gateway ({_name(policy)})')}\n"
        f"regex = '''\\b({build_regex(policy)})\\b'''\n"
        f"keywords = {json.dumps([prefix.lower() for prefix in policy.token_format.prefixes])}\n"
        for policy in policies
    ]
    return "\n".join(['title = "Tokens of the gateway"\n\n[extend]\nuseDefault = true\n', *rules])


def build_trufflehog(policies: list[Policy]) -> str:
    """Return custom detectors for TruffleHog, for `trufflehog --config`. They send nothing anywhere."""
    detectors = [
        f"  - name: {_name(policy)}\n"
        f"    keywords: {json.dumps(list(policy.token_format.prefixes))}\n"
        f"    regex:\n      token: '\\b({build_regex(policy)})\\b'\n"
        for policy in policies
    ]
    return "detectors:\n" + "".join(detectors)


def build_detect_secrets(policies: list[Policy]) -> str:
    """Return a plugin for detect-secrets, for `detect-secrets scan --plugin`. It looks at checksums."""
    checked = [build_regex(policy) for policy in policies if policy.token_format.checksum]
    unchecked = [build_regex(policy) for policy in policies if not policy.token_format.checksum]
    return _DETECT_SECRETS.format(base62=BASE62, checked=checked, unchecked=unchecked)


def build_github(policies: list[Policy]) -> str:
    """Return the texts for custom patterns of GitHub's secret scanning, to be pasted into its form."""
    return "\n".join(
        f"Pattern name: {_name(policy)}\n"
        f"Secret format: {build_regex(policy)}\n"
        "Before secret: \\A|[^0-9A-Za-z]\n"
        "After secret: \\z|[^0-9A-Za-z]\n"
        f"Test string: {build_example(policy)}\n"
        for policy in policies
    )


def build_example(policy: Policy) -> str:
    """Return a well-formed text that is nobody's token."""
    return mint(policy.token_format, EXAMPLE_BYTES * random_bytes_needed(policy.token_format))


FORMS: Mapping[str, Callable[[list[Policy]], str]] = {
    "gitleaks": build_gitleaks,
    "trufflehog": build_trufflehog,
    "detect-secrets": build_detect_secrets,
    "github": build_github,
}

_DETECT_SECRETS = '''\
"""Tokens of the gateway, for detect-secrets: `detect-secrets scan --plugin gateway_tokens.py`."""

import re
import zlib

from detect_secrets.plugins.base import RegexBasedDetector

BASE62 = "{base62}"
CHECKED = {checked!r}
UNCHECKED = {unchecked!r}


class GatewayTokenDetector(RegexBasedDetector):
    """Finds tokens by prefix and length, and by their checksum if they have one."""

    secret_type = "Gateway Token"
    denylist = [re.compile(rf"\\b({{regex}})\\b") for regex in [*CHECKED, *UNCHECKED]]

    def analyze_string(self, string):
        for found in super().analyze_string(string):
            is_unchecked = any(re.fullmatch(regex, found) for regex in UNCHECKED)
            if is_unchecked or build_checksum(found[:-6]) == found[-6:]:
                yield found


def build_checksum(text):
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits
'''
