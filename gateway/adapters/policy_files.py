"""Policy files: read, watched, and swapped as one set. The last good set stays until there is a better one.

A change below the folder may be anything: an app's log beside its policy, or a file that was only touched. So the texts
that were read are remembered, after a bad load as after a good one, and nothing is done or logged until they differ.
"""

import asyncio
import hashlib
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.core.errors import ConfigurationError
from gateway.core.own_addresses import OwnAddresses
from gateway.core.policies.loading import Loader
from gateway.core.policies.model import PolicySet, Upstream
from gateway.core.policies.reading import Mistake

NO_KEY = "this gateway has no key to sign assertions with: set GATEWAY_ASSERTION_KEY"

SWITCH_SECONDS = 0.0005
"""The interpreter's switch interval while loading.

A request needs the interpreter some ten times, so with Python's own 5 ms it could be 50 ms late.
"""

logger = logging.getLogger(__name__)


class PolicyFiles:
    """The policies of one folder. `mistakes` are those of the current files, if the running set is older than they."""

    def __init__(
        self,
        folder: Path,
        upstreams: Mapping[str, str],
        *,
        can_assert: bool = True,
        own: OwnAddresses | None = None,
    ) -> None:
        self._folder = folder
        self._can_assert = can_assert
        self._loader = Loader(upstreams, own)
        self._read = ReadFiles(folder)
        self.object: Callable[[PolicySet], None] = lambda _: None
        """Raises ConfigurationError if the rest of the gateway cannot run with a new set."""
        self.current = self._read.load(self._loader, can_assert=can_assert)
        self.mistakes: tuple[str, ...] = ()
        self._reloading = asyncio.Lock()

    def reload(self, *, is_asked_for: bool = False) -> bool:
        """Load the current files as a whole, or not at all if any of them has a mistake.

        Return whether that was attempted.

        If the files are unchanged since the last attempt, whatever its result, nothing is done or logged, unless it
        `is_asked_for`: a person who asks wants to see the result.
        """
        if self._read.is_unchanged() and not is_asked_for:
            return False
        self._read = ReadFiles(self._folder)
        try:
            loaded = self._read.load(self._loader, can_assert=self._can_assert)
            self.object(loaded)
        except ConfigurationError as error:
            self.mistakes = error.mistakes
            logger.error("policies unchanged, the files have mistakes:\n%s", error)  # noqa: TRY400 - the place matters, not the stack
        else:
            self.current, self.mistakes = loaded, ()
            logger.info("policies loaded from %s: %s", self._folder, ", ".join(sorted(self.current.policies)))
        return True

    async def watch(self, then: Callable[[], None]) -> None:
        """Reload whenever a policy file of the folder has changed, and call `then` after it, until cancelled."""
        from watchfiles import awatch  # noqa: PLC0415 - most commands read policies and never watch them

        folder = self._folder.parent if self._folder.is_file() else self._folder  # editors put a new file in its place
        async for _ in awatch(folder, watch_filter=self._is_of_interest, step=50, debounce=200):
            if await self.reload_beside():
                then()

    def _is_of_interest(self, _: object, path: str) -> bool:
        """Return whether a change may concern policies. Any other existing file, such as a log, does not.

        watchfiles logs what it passes on: that would be a change, and a line, for ever. Links are not judged:
        Kubernetes swaps whole folders by one.
        """
        file = Path(path)
        is_other = file.is_file() and not file.is_symlink() and file.suffix != ".toml"
        return not is_other or file.name == self._folder.name or self._read.depends_on(path)

    async def reload_beside(self, *, is_asked_for: bool = False) -> bool:
        """Reload in a thread, one at a time, which lets the event loop run at least every SWITCH_SECONDS."""
        async with self._reloading:
            before = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_SECONDS)
            try:
                return await asyncio.to_thread(self.reload, is_asked_for=is_asked_for)
            except Exception:  # watching the files goes on, and so do hangups
                logger.exception("policies unchanged: internal error while reading them")
                return False
            finally:
                sys.setswitchinterval(before)


class ReadFiles:
    """Everything that one load depends on: the policy files' texts, and the contents of files that TLS names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._texts = _try_texts(folder)
        self._digests: dict[str, bytes] = {}

    def load(self, loader: Loader, *, can_assert: bool) -> PolicySet:
        """Return the set of all texts. Raise ConfigurationError with every mistake."""
        if isinstance(self._texts, ConfigurationError):
            raise self._texts

        def find_mistake(upstream: Upstream) -> Mistake | None:
            for file in upstream.tls.files:
                self._digests[file] = _digest(file)  # before it is read, so that a change meanwhile is noticed
            tls_mistake = _find_tls_mistake(upstream)
            if tls_mistake is not None:
                return Mistake("$.upstream.tls", tls_mistake)
            return Mistake("$.upstream.assertion", NO_KEY) if upstream.audience is not None and not can_assert else None

        return loader.load(self._texts, find_mistake)

    def depends_on(self, path: str) -> bool:
        """Return whether a policy's TLS names the file."""
        return any(Path(file).resolve() == Path(path).resolve() for file in self._digests)

    def is_unchanged(self) -> bool:
        """Return whether a load now would read the same."""
        now, before = _try_texts(self._folder), self._texts
        if isinstance(before, ConfigurationError):
            return isinstance(now, ConfigurationError) and now.mistakes == before.mistakes
        return now == before and all(_digest(file) == digest for file, digest in self._digests.items())


def read_policies(
    folder: Path, upstreams: Mapping[str, str], *, can_assert: bool = True, own: OwnAddresses | None = None
) -> PolicySet:
    """Return the set of all *.toml in the folder; `upstreams` replaces backends by the policy's name.

    `can_assert` says whether there is a key to sign assertions with; `own` are the addresses that the gateway itself
    answers, if known. Raise ConfigurationError with every mistake.
    """
    return ReadFiles(folder).load(Loader(upstreams, own), can_assert=can_assert)


def read_texts(folder: Path) -> dict[str, str]:
    """Return the text of each policy file in the folder, or of the one file.

    Raise ConfigurationError if there is none.
    """
    files = [folder] if folder.is_file() else sorted(filter(is_policy_file, folder.glob("*.toml")))
    if not files:
        raise ConfigurationError(f"{folder}: no policy files (*.toml) here")
    try:
        return {str(file): file.read_text(encoding="utf-8") for file in files}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{folder}: a policy file cannot be read: {error}") from error


def is_policy_file(file: Path) -> bool:
    """Return whether a *.toml is a policy file, and not hidden, an editor's lock (.#x.toml) or its backup (x~.toml)."""
    return not (file.name.startswith((".", "#", "~")) or file.stem.endswith("~"))


def _try_texts(folder: Path) -> dict[str, str] | ConfigurationError:
    try:
        return read_texts(folder)
    except ConfigurationError as error:
        return error


def _find_tls_mistake(upstream: Upstream) -> str | None:
    """Return the mistake of the TLS files, or None.

    Without files, do not build a context: it would load all authorities.
    """
    if not upstream.tls.files:
        return None
    from gateway.adapters.upstream.tls import find_tls_mistake  # noqa: PLC0415 - few policies name files

    return find_tls_mistake(upstream)


def _digest(file: str) -> bytes:
    """Return a digest of a file's content, which may be a secret; empty if it cannot be read."""
    try:
        return hashlib.sha256(Path(file).read_bytes()).digest()
    except OSError:
        return b""
