"""Policy files: read, watched, and swapped as one set. The last good set stays until a better one is there."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from watchfiles import awatch

from gateway.adapters.upstream_tls import find_tls_mistake
from gateway.core.errors import ConfigurationError
from gateway.core.policies.loading import load_policies
from gateway.core.policies.reading import Mistake
from gateway.core.policies.rules import PolicySet
from gateway.core.policies.upstream import Upstream

NO_KEY = "this gateway has no key to sign assertions with: set GATEWAY_ASSERTION_KEY"

logger = logging.getLogger(__name__)


class PolicyFiles:
    """The policies of one folder. `mistakes` are those of the files as they are now, if the set is an older one."""

    def __init__(self, folder: Path, upstreams: Mapping[str, str], *, can_assert: bool = True) -> None:
        self._read = partial(read_policies, folder, upstreams, can_assert=can_assert)
        self._folder = folder
        self.current = self._read()
        self.mistakes: tuple[str, ...] = ()

    def reload(self) -> None:
        """Swaps in the files' present state, all of it or, where there is a mistake in any of them, none."""
        try:
            self.current = self._read()
        except ConfigurationError as error:
            self.mistakes = error.mistakes
            logger.error("policies unchanged, the files have mistakes:\n%s", error)  # noqa: TRY400 - the place matters, not the stack
        else:
            self.mistakes = ()
            logger.info("policies loaded from %s: %s", self._folder, ", ".join(sorted(self.current.policies)))

    async def watch(self, then: Callable[[], None]) -> None:
        """Reloads whenever a file of the folder changes, and calls `then` after it, until cancelled."""
        folder = self._folder.parent if self._folder.is_file() else self._folder  # editors put a new file in its place
        async for _ in awatch(folder, step=50, debounce=200):
            await asyncio.to_thread(self.reload)
            then()


def read_policies(folder: Path, upstreams: Mapping[str, str], *, can_assert: bool = True) -> PolicySet:
    """The set of all *.toml in the folder; `upstreams` replaces backends by the policy's name.

    `can_assert` says whether there is a key to sign assertions with. Raises ConfigurationError with every mistake.
    """

    def find_mistake(upstream: Upstream) -> Mistake | None:
        tls_mistake = find_tls_mistake(upstream)
        if tls_mistake is not None:
            return Mistake("$.upstream.tls", tls_mistake)
        return Mistake("$.upstream.assertion", NO_KEY) if upstream.audience is not None and not can_assert else None

    return load_policies(read_texts(folder), upstreams, find_mistake)


def read_texts(folder: Path) -> dict[str, str]:
    """The text of each *.toml in the folder, or of the one file it is; ConfigurationError where there is none."""
    files = [folder] if folder.is_file() else sorted(folder.glob("*.toml"))
    if not files:
        raise ConfigurationError(f"{folder}: no policy files (*.toml) here")
    try:
        return {str(file): file.read_text(encoding="utf-8") for file in files}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{folder}: a policy file cannot be read: {error}") from error
