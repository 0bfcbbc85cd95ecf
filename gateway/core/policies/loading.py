"""Load all policy files: from their texts to one policy set, or to every mistake of every file."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gateway.core.errors import ConfigurationError
from gateway.core.own_addresses import OwnAddresses
from gateway.core.policies.compiler import Compiled, Joining, compile_document, find_credential_fields
from gateway.core.policies.model import PolicySet, Upstream
from gateway.core.policies.reading import Mistake, read_document
from gateway.core.policies.schema import PolicyDocument
from gateway.core.simulation.policy_tests import failed_tests


def load_policies(
    texts: Mapping[str, str],
    upstreams: Mapping[str, str] | None = None,
    find_upstream_mistake: Callable[[Upstream], Mistake | None] = lambda _: None,
    own: OwnAddresses | None = None,
) -> PolicySet:
    """Return the set of all files (name to text), which pass their own tests; see Loader."""
    return Loader(upstreams or {}, own).load(texts, find_upstream_mistake)


class _Loaded(NamedTuple):
    """The result of loading a file's text."""

    text: str
    document: PolicyDocument | None
    mistakes: list[Mistake]
    fields: frozenset[bytes]
    """The set's credential fields at its compilation."""
    compiled: Compiled | None
    """None if there is no document."""


class Loader:
    """Loads policy sets, one after the other.

    `upstreams` replaces backends by policy name. A rule for what the gateway answers itself, at its `own` addresses, is
    a mistake. A file is read and compiled again only if its text differs from the load before.
    """

    def __init__(self, upstreams: Mapping[str, str], own: OwnAddresses | None = None) -> None:
        self._upstreams = upstreams
        self._loaded: dict[str, _Loaded] = {}
        self._joining = Joining(own)

    def load(
        self, texts: Mapping[str, str], find_upstream_mistake: Callable[[Upstream], Mistake | None] = lambda _: None
    ) -> PolicySet:
        """Return the set of all files (name to text), which pass their own tests.

        `find_upstream_mistake` checks a backend where core cannot: the files that its TLS names. Raise
        ConfigurationError with every mistake of every file, `file: $.path: message` each.
        """
        read = {file: self._read(file, text) for file, text in texts.items()}
        fields = find_credential_fields(document for document, _ in read.values() if document is not None)
        self._loaded = {file: self._find(file, text, *read[file], fields) for file, text in texts.items()}
        mistakes = {file: list(one.mistakes) for file, one in self._loaded.items()}
        compiled = {file: one.compiled for file, one in self._loaded.items() if one.compiled is not None}
        policies, misunderstood = self._joining.join(compiled)
        for file, found in misunderstood.items():
            mistakes[file] += found
            mistake = find_upstream_mistake(compiled[file].policy.upstream)
            if mistake is not None:
                mistakes[file].append(mistake)
        if not any(mistakes.values()):
            documents = {file: one.document for file, one in self._loaded.items() if one.document is not None}
            mistakes = {file: list(failed_tests(document, policies)) for file, document in documents.items()}
        if any(mistakes.values()):
            raise ConfigurationError(*(f"{file}: {mistake}" for file, found in mistakes.items() for mistake in found))
        return policies

    def _read(self, file: str, text: str) -> tuple[PolicyDocument | None, list[Mistake]]:
        before = self._loaded.get(file)
        is_same = before is not None and before.text == text
        return (before.document, before.mistakes) if before is not None and is_same else read_document(text)

    def _find(
        self,
        file: str,
        text: str,
        document: PolicyDocument | None,
        mistakes: list[Mistake],
        fields: frozenset[bytes],
    ) -> _Loaded:
        before = self._loaded.get(file)
        if before is not None and before.document is document and before.fields == fields:
            return before
        compiled = None if document is None else compile_document(document, self._upstreams, fields)
        return _Loaded(text, document, mistakes, fields, compiled)
