"""Remember how requests were read, for those that were seen before (docs/development/recognition.md).

Rule 1: what is remembered follows from the scope and the policies alone. Redis is asked about every request, and its
reply is interpreted anew.
Rule 2: the table holds keyed hashes of scopes, and what was read of them: no field of a client, and no text of a token.
Rule 3: only a request that was admitted is remembered, so whoever has no good token evicts nothing.
"""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any

import msgspec
from litestar.handlers import BaseRouteHandler
from litestar.types import HTTPScope

from gateway.core.http.messages import Field, RequestHead, field_values
from gateway.core.policies.model import PolicySet
from gateway.pipeline.exchange import Reading
from gateway.pipeline.recognition import KEY_BYTES, Generations

MAXIMUM_REMEMBERED = 4096
"""Requests in each of two generations: a usual one takes about 2 KB."""


class Remembered(msgspec.Struct, frozen=True, gc=False):
    """How one request was read."""

    handler: BaseRouteHandler
    head: RequestHead
    """The head without fields and time, with an id only if the client has given it."""
    accepted: bytes
    """For each field line of the scope: 1 if the head has it."""
    passed: bytes
    """For each field line of the scope: 1 if the handler gets it."""
    reading: Reading
    is_for_others: bool
    """Whether the answer may be stored."""


def select(lines: Iterable[Any], places: bytes) -> list[Field]:
    """Return the field lines at the places that are marked with 1."""
    return list(compress(map(tuple, lines), places))


class Memory:
    """The table of requests that were read before; None of them is known under other policies."""

    def __init__(self) -> None:
        self._hasher = hashlib.blake2b(digest_size=KEY_BYTES, key=secrets.token_bytes(32))
        self._encoder = msgspec.msgpack.Encoder()
        self._policies: PolicySet | None = None
        self._table = Generations[Remembered](MAXIMUM_REMEMBERED)

    def __len__(self) -> int:
        return len(self._table)

    def key_of(self, scope: HTTPScope) -> bytes:
        """Return the key of a request: a keyed hash of all that is read of its scope, but for the handler."""
        client = scope["client"]
        told = (
            client[0] if client else None,
            scope["scheme"],
            scope["method"],
            scope["path"].encode("utf-8", "surrogatepass"),
            scope.get("raw_path"),
            scope["query_string"],
            scope.get("root_path", ""),
            scope["path_template"],
            scope["headers"],
        )
        hasher = self._hasher.copy()
        hasher.update(self._encoder.encode(told))
        return hasher.digest()

    def recall(self, key: bytes, scope: HTTPScope, policies: PolicySet) -> Remembered | None:
        """Return how an equal request to the same handler was read under the same policies, None if none was."""
        if policies is not self._policies:
            self._table.clear()
            self._policies = policies
            return None
        found = self._table.get(key)
        return found if found is not None and found.handler is scope["route_handler"] else None

    def remember(
        self,
        key: bytes,
        scope: HTTPScope,
        request: RequestHead,
        passed: Sequence[Field],
        reading: Reading,
        *,
        is_for_others: bool,
    ) -> None:
        """Remember how a request was read, unless that was changed meanwhile, or has the text of a token in it."""
        lines = [(name, value) for name, value in scope["headers"]]
        accepted, handed_on = _find_places(lines, request.fields), _find_places(lines, passed)
        told = " ".join((request.path, request.query, request.authority, request.forwarded_for))
        is_usual = reading.policies is self._policies and accepted is not None and handed_on is not None
        if not is_usual or reading.policies.masking.holds_token(told):
            return
        given_id = request.id if field_values(lines, b"x-request-id") == [request.id.encode()] else ""
        head = msgspec.structs.replace(request, fields=(), id=given_id, received_at=0.0)
        self._table.put(
            key, Remembered(scope["route_handler"], head, accepted or b"", handed_on or b"", reading, is_for_others)
        )


def _find_places(lines: Sequence[Field], chosen: Sequence[Field]) -> bytes | None:
    """Return 1 for each of the lines that was chosen, else 0; None if a chosen line is none of them."""
    known = frozenset(chosen)
    places = bytes([line in known for line in lines])
    return places if select(lines, places) == list(chosen) else None
