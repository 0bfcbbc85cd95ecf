"""Masking of what looks like a token: one function for every way out, be it a log, an error, a name or an id.

Rule 1: a long text after a prefix of any policy counts as a token: a client may mistype it, or encode it.
Rule 2: a text with our checksum is a token under any prefix: a policy may have dropped the prefix of a secret.

Logs mask whole lines, records each text of a client, and commands all of standard error: where a token is expected is
where nobody types one. What is not recognized: a short token of a dropped policy that was minted elsewhere.
"""

import functools
import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

from gateway.core.tokens.text import ADMIN_FORMAT, CHECKSUM_LENGTH, MINIMUM_RANDOM_LENGTH, TokenFormat, build_checksum

MASK = "..."
MASKED_RUN = 16
"""Letters and digits in a row after a prefix that are never an ordinary name."""
MASKED_IN_ALL = MINIMUM_RANDOM_LENGTH
"""Letters and digits, one of them a digit, after the prefix of tokens minted elsewhere: a UUID has 32."""
MAXIMUM_REMEMBERED = 256
"""The longest text, in characters, whose masked form is cached: clients choose paths, so the cache is bounded."""
MAXIMUM_TOKEN_LENGTH = 512
"""The longest token that is looked for, twice the longest that a policy allows: it bounds the work per text."""
MAXIMUM_DECODINGS = 4
"""The most times a text is decoded: mistakes encode no more often, and an attacker could ask for thousands."""

_RUN = re.compile(f"[0-9A-Za-z]{{{MASKED_RUN}}}")
_LEAST = MINIMUM_RANDOM_LENGTH + CHECKSUM_LENGTH
_LONG_RUN = re.compile(f"[0-9A-Za-z]{{{_LEAST}}}")
_CHECKED = re.compile(f"[0-9A-Za-z_-]{{{_LEAST + 1},}}")
_BORDER = re.compile("[_-]")


class Masking:
    """The masking of tokens of some policies."""

    def __init__(self, formats: Iterable[TokenFormat]) -> None:
        self._is_checked: dict[str, bool] = {}
        """Maps each prefix in lower case to whether all tokens with it were minted by the gateway."""
        for one in formats:
            for prefix in map(str.lower, one.prefixes):
                self._is_checked[prefix] = self._is_checked.get(prefix, True) and one.checksum
        # A prefix of letters and digits only also occurs in words; any other ends with a character that no word has.
        each = [
            f"(?<![0-9A-Za-z]){prefix}" if prefix.isalnum() else re.escape(prefix)
            for prefix in sorted(self._is_checked, key=len, reverse=True)
        ]
        self._prefixed = re.compile(f"({'|'.join(each)})([0-9A-Za-z._~+=-]{{{MASKED_RUN},}})", re.IGNORECASE)
        self._remember = functools.lru_cache(maxsize=4096)(self.mask)

    def mask(self, text: str) -> str:
        """Return the text with tokens masked; it is decoded if it has a percent-encoded one."""
        if "\n" in text:
            return "\n".join(map(self.mask, text.split("\n")))
        if len(text) <= MASKED_RUN:
            return text
        masked = self._mask(text)
        if "%" in masked:
            plain = _decode(masked)
            again = self._mask(plain)
            if again != plain:
                return "".join(one if one.isprintable() else quote(one) for one in again)
        return masked

    def mask_again(self, text: str) -> str:
        """Return the result of `mask`, at less cost for repeated texts."""
        return self._remember(text) if len(text) <= MAXIMUM_REMEMBERED else self.mask(text)

    def holds_token(self, text: str) -> bool:
        """Return whether the text contains what looks like a token."""
        return self.mask(text) != text

    def _mask(self, text: str) -> str:
        lower = text.lower()
        for prefix in self._is_checked:  # a search for each costs less than the pattern
            if prefix in lower:
                text = self._prefixed.sub(self._mask_prefixed, text)
                break
        return _CHECKED.sub(_mask_checked, text) if _LONG_RUN.search(text) else text

    def _mask_prefixed(self, match: re.Match[str]) -> str:
        prefix, body = match.groups()
        characters = [one for one in body if one.isalnum()]
        is_foreign = not self._is_checked[prefix.lower()] and len(characters) >= MASKED_IN_ALL
        is_token = _RUN.search(body) or (is_foreign and any(one.isdigit() for one in characters))
        return f"{prefix}{MASK}" if is_token else match[0]


NO_POLICIES = Masking((ADMIN_FORMAT,))
"""The masking if no policies can be read."""


def _decode(text: str) -> str:
    """Return the text without percent-encoding, even if it was encoded repeatedly."""
    for _ in range(MAXIMUM_DECODINGS):
        text, encoded = unquote(text), text
        if text == encoded:
            break
    return text


def _mask_checked(match: re.Match[str]) -> str:
    """Return the match with a text that has our checksum masked; other characters may precede it."""
    text = match[0]
    first = max(0, len(text) - MAXIMUM_TOKEN_LENGTH)
    for start in (first, *(border.end() for border in _BORDER.finditer(text, first))):
        found = text[start:]
        if len(found) > _LEAST and build_checksum(found[:-CHECKSUM_LENGTH]) == found[-CHECKSUM_LENGTH:]:
            return f"{text[: max(text.rfind('_'), text.rfind('-')) + 1]}{MASK}"
    return text
