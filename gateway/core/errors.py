"""All exceptions of the gateway. A refusal is never an exception: it is a value of core/admission/decision.py.

GatewayError
    ConfigurationError          the operator's files or options; the message names the place
    StartFailed                 a server did not start; its log says why
    ChangeRefused               a change of a token or owner that was not made; `code` says of what kind
        NotFound                nothing has this id
        NameTaken               the policy wants unique names, and another token has this one
        NotGrantable            owner or parent cannot grant so much
        TokenEnded              revoked, or ended in another way: there is nothing left to change
        ChangedMeanwhile        another change came first
        CallRepeated            the idempotency key was used before; `identity` names what it created
    ClientGone                  the client left, or broke off, before its request was complete
    IssuerUnavailable           an issuer of ID tokens or of leak reports does not show its keys
    StoreUnavailable            Redis is unreachable or silent
        NotKept                 a change is made, but Redis has not confirmed that it is on its disk
    MemoryFull                  there is no room for content that would have to wait for its client
    StreamRevoked               an open stream that a request would no longer get; `reason` says why
    UpstreamError               the backend gave no answer that can be passed on
        UpstreamUnreachable     no connection
        UpstreamBusy            no connection is free, and too many requests wait for one already, or too long
        UpstreamTimeout         connected, no response head in time
        UpstreamBroken          the answer is not HTTP, or ends before it is complete
            UpstreamDropped     the connection ended before any byte of an answer
            ContentLost         stored content was removed while it was sent
        BrokenDocument          the document that it gave cannot be shaped; names the place in it
"""

from typing import TYPE_CHECKING

from gateway.core.upstream.causes import Cause

if TYPE_CHECKING:  # the command line imports this file, and little else
    from gateway.core.http.reasons import Reason

MAXIMUM_TOLD = 500
"""The most characters of a place in a document, and of the problem there, in a message."""


class GatewayError(Exception):
    """The root of the exceptions that this package raises on purpose."""


class ConfigurationError(GatewayError):
    """Configuration that cannot be served; `mistakes` has one `place: message` each."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class StartFailed(GatewayError):
    """No process of the gateway answers requests, and another attempt would fail in the same way."""


class ChangeRefused(GatewayError):
    """A change was refused; nothing has changed."""

    code = "invalid"
    """The kind of refusal, for programs; policies may have their own words for it."""
    is_noted = False
    """Whether the history has it already."""


class NotFound(ChangeRefused):
    """No token, owner or policy has this name."""

    code = "not_found"


class NameTaken(ChangeRefused):
    """Another token has the name."""

    code = "name_taken"


class NotGrantable(ChangeRefused):
    """More than the owner or the parent may give."""

    code = "not_grantable"


class TokenEnded(ChangeRefused):
    """The token has ended, for good or until it is enabled again."""

    code = "ended"


class ChangedMeanwhile(ChangeRefused):
    """The change was made for a state that has changed meanwhile."""

    code = "changed_meanwhile"


class CallRepeated(ChangeRefused):
    """A call with this idempotency key was made before: `code` says with which result, or that it was another call."""

    def __init__(self, code: str, message: str, identity: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.identity = identity


class ClientGone(GatewayError):
    """The client left before its request was complete; with a `reason` it is there, but what it sent is invalid."""

    def __init__(self, reason: "Reason | None" = None) -> None:
        super().__init__(reason or "the client left")
        self.reason = reason


class IssuerUnavailable(GatewayError):
    """The keys of an issuer cannot be fetched now; the message says from where, and why not."""


class StoreUnavailable(GatewayError):
    """Redis did not answer within the bounded time, is unreachable, or refused the command.

    `code` is the error code of Redis, such as OOM or READONLY. It is empty if Redis did not answer.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class NotKept(StoreUnavailable):
    """The change was made, but Redis has not confirmed within `seconds` that it is on its disk."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"redis: done and in effect, but Redis did not confirm within {seconds:g} s that it is on its disk. "
            "If Redis or its machine fails now, it may be undone. Do it again to wait again; `gateway redis check` "
            "says what Redis promises"
        )


class MaybeUndone(NotKept):
    """The change was made, and Redis was restarted or replaced before it confirmed that it had kept the change."""

    def __init__(self) -> None:
        StoreUnavailable.__init__(
            self,
            "redis: done, but Redis was restarted, or another server took over, before it confirmed that the change "
            "is on its disk: it may be undone. Do it again to make sure",
        )


class MemoryFull(GatewayError):
    """Too much long content waits for clients in this worker, and this content cannot be read from elsewhere."""


class StreamRevoked(GatewayError):
    """An open stream was ended, because a request for it would now be refused, for `reason`."""

    def __init__(self, reason: "Reason") -> None:
        super().__init__(f"a request for it would be refused by now: {reason}")
        self.reason = reason


class UpstreamError(GatewayError):
    """The backend gave no answer that can be passed on; `cause` says why, if more is known than the class says."""

    cause: Cause
    retry_after: int | None = None
    """Seconds after which to retry, if known."""

    def __init__(self, *words: object, cause: Cause | None = None) -> None:
        super().__init__(*words)
        if cause is not None:
            self.cause = cause


class UpstreamUnreachable(UpstreamError):
    """No connection to the backend can be opened."""

    cause = Cause.UNREACHABLE
    retry_after = 1


class UpstreamBusy(UpstreamError):
    """The backend is at capacity; retry later."""

    cause = Cause.BUSY
    retry_after = 1


class UpstreamTimeout(UpstreamError):
    """The backend took the request and gave no response head in time."""

    cause = Cause.RESPONSE_TIMEOUT


class UpstreamBroken(UpstreamError):
    """The backend's answer is not HTTP, or ended before it was complete."""

    cause = Cause.BROKEN_ANSWER


class ContentLost(UpstreamBroken):
    """Stored content was streamed to its client, and was replaced or removed meanwhile."""


class UpstreamDropped(UpstreamBroken):
    """The backend's connection ended before any byte of an answer had come."""

    cause = Cause.CONNECTION_LOST


class BrokenDocument(UpstreamError):
    """The backend's document does not have the policy's form; `place` is a JSON path in it.

    Both texts may contain names of the document of any length, so they are shortened.
    """

    cause = Cause.BROKEN_DOCUMENT

    def __init__(self, place: str, problem: str) -> None:
        self.place = _shorten(place)
        self.problem = _shorten(problem)
        super().__init__(self.place, self.problem)

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}"


def _shorten(text: str) -> str:
    return text if len(text) <= MAXIMUM_TOLD else f"{text[:MAXIMUM_TOLD]}…"
