"""Versions of policies that are served at one moment, by processes that share a Redis.

A version is named by a digest of what the policy's file says, so comments, the order of keys and the file's own tests
make no new one. While a changed file is rolled out there are two. What they share in Redis is safe then;
docs/guide/policies.md, "Roll out a changed policy", says what is not.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.core.policies.schema import PolicyDocument

DIGITS = 12


class Serving(msgspec.Struct, frozen=True):
    """A process, and the versions that it serves."""

    process: str
    versions: Mapping[str, str]
    """Policy to version."""


def version_of(document: PolicyDocument) -> str:
    """Return the version of a policy with this document."""
    trust = [msgspec.structs.replace(table, tests=[]) for table in document.trust]
    said = msgspec.structs.replace(document, tests=[], trust=trust)
    return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:DIGITS]


def gather_versions(serving: Iterable[Serving]) -> dict[str, dict[str, list[str]]]:
    """Return the processes that serve each version of each policy, all sorted.

    A process that lacks a policy is left out there.
    """
    found: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for one in serving:
        for policy, version in one.versions.items():
            found[policy][version].append(one.process)
    return {
        policy: {version: sorted(processes) for version, processes in sorted(versions.items())}
        for policy, versions in sorted(found.items())
    }


class Mixtures:
    """The policies that are served in several versions, as one process sees it over time.

    Processes do not read a changed file at the same moment: a policy counts as mixed if it was so twice in a row.
    """

    def __init__(self) -> None:
        self._seen = frozenset[str]()
        self.mixed = frozenset[str]()

    def see(self, versions: Mapping[str, Mapping[str, Sequence[str]]]) -> list[str]:
        """Return what begins and what ends with this look, one line for each."""
        seen = frozenset(policy for policy, served in versions.items() if len(served) > 1)
        mixed = seen & (self._seen | self.mixed)
        lines = [describe_mixture(policy, versions[policy]) for policy in sorted(mixed - self.mixed)]
        lines += [f"the policy {policy} is served in one version again" for policy in sorted(self.mixed - mixed)]
        self._seen, self.mixed = seen, mixed
        return lines


def describe_mixture(policy: str, served: Mapping[str, Sequence[str]]) -> str:
    """Return a line that says who serves which version."""
    parts = "; ".join(f"{version} by {', '.join(processes)}" for version, processes in served.items())
    return f"the policy {policy} is served in {len(served)} versions: {parts}"
