"""Masking of what commands write to standard error: a token is easily typed where an id belongs.

It covers all of it, errors of click and tracebacks too. Little is imported before there is something to mask.
"""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from gateway.core.masking import Masking

OPTION, VARIABLE, DEFAULT = "--policies", "GATEWAY_POLICIES", "policies"
"""The names that give the folder of the policies; their prefixes identify tokens minted elsewhere."""
_MAY_BE_TOKEN = re.compile("[0-9A-Za-z._~+=%-]{16}")


class MaskedText:
    """A text stream that masks what is written to it; otherwise it behaves as the wrapped one."""

    def __init__(self, stream: TextIO, mask: Callable[[str], str]) -> None:
        self._stream = stream
        self._mask = mask

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text with tokens masked."""
        return self._stream.write(self._mask(text) if _MAY_BE_TOKEN.search(text) else text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the lines one by one."""
        for line in lines:
            self.write(line)


def mask_errors() -> None:
    """Mask what this process writes to standard error from now on."""
    if not isinstance(sys.stderr, MaskedText):
        sys.stderr = cast(TextIO, MaskedText(sys.stderr, mask))


def mask(text: str) -> str:
    """Return the text with tokens masked, those of the command's policies and our own."""
    from gateway.core.masking import NO_POLICIES  # noqa: PLC0415 - see above

    masked = NO_POLICIES.mask(text)
    return _read_masking().mask(masked) if _MAY_BE_TOKEN.search(masked) else masked


def find_folder(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the folder of the policies: click knows it only after it has parsed the whole command."""
    for name, value in pairwise((*arguments, "")):
        if name == OPTION or name.startswith(f"{OPTION}="):
            return value if name == OPTION else name.removeprefix(f"{OPTION}=")
    return environment.get(VARIABLE) or DEFAULT


@functools.cache
def _read_masking() -> "Masking":
    from gateway.adapters.policy_files import read_policies  # noqa: PLC0415 - see above
    from gateway.core.errors import ConfigurationError  # noqa: PLC0415
    from gateway.core.masking import NO_POLICIES  # noqa: PLC0415

    try:
        return read_policies(Path(find_folder(sys.argv[1:], os.environ)), {}).masking
    except ConfigurationError:
        return NO_POLICIES
