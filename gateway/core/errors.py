"""What can be broken. A refusal is never an exception: it is a value of core/admission/decision.py.

GatewayError
    ConfigurationError          the operator's files or options; the message names the place
    StartFailed                 a server did not come up; its log says why
    ChangeRefused               a change of a token or owner that was not made; `code` says of what kind
        NotFound                there is nothing of this id
        NameTaken               the policy wants unique names, and another token has this one
        NotGrantable            owner or parent cannot give so much
        TokenEnded              revoked, or in another way over: there is nothing left to change
        ChangedMeanwhile        another change came first
        CallRepeated            the idempotency key was used before; `identity` names what it made
    ClientGone                  the client left, or broke off, before its request was complete
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
            ContentLost         stored content has gone while it was sent
        BrokenDocument          the document that it gave cannot be shaped; names the place in it
"""

from typing import TYPE_CHECKING

from gateway.core.upstream.causes import Cause

if TYPE_CHECKING:  # the command line imports this file, and little else
    from gateway.core.http.reasons import Reason

MAXIMUM_TOLD = 500
"""Characters of a place in a document, and of what is wrong there."""


class GatewayError(Exception):
    """Root of what this package raises on purpose."""


class ConfigurationError(GatewayError):
    """Configuration that cannot be served; `mistakes` has one `place: message` each."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class StartFailed(GatewayError):
    """No process of the gateway answers requests, and another attempt would end in the same way."""


class ChangeRefused(GatewayError):
    """Everything stayed as it was."""

    code = "invalid"
    """What kind of refusal it is, for programs; policies may have words of their own for it."""
    is_noted = False
    """Whether the history has it already."""


class NotFound(ChangeRefused):
    """There is no token, no owner or no policy of this name."""

    code = "not_found"


class NameTaken(ChangeRefused):
    """Another token has the name."""

    code = "name_taken"


class NotGrantable(ChangeRefused):
    """More than the owner or the parent may give."""

    code = "not_grantable"


class TokenEnded(ChangeRefused):
    """The token is over, for good or until somebody enables it."""

    code = "ended"


class ChangedMeanwhile(ChangeRefused):
    """The change was meant for what is no longer there."""

    code = "changed_meanwhile"


class CallRepeated(ChangeRefused):
    """A call with this idempotency key was made before: `code` says what came of it, or that it was another call."""

    def __init__(self, code: str, message: str, identity: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.identity = identity


class ClientGone(GatewayError):
    """The client left before its request was complete; with a `reason` it is there, and what it sent is at fault."""

    def __init__(self, reason: "Reason | None" = None) -> None:
        super().__init__(reason or "the client left")
        self.reason = reason


class StoreUnavailable(GatewayError):
    """Redis did not answer within the bounded time, is not there, or refused the command.

    `code` is the error code of Redis, such as OOM or READONLY. It is empty if Redis did not answer.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class NotKept(StoreUnavailable):
    """The change is made and in effect, but Redis has not confirmed within `seconds` that it is on its disk."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"redis: done and in effect, but Redis did not confirm within {seconds:g} s that it is on its disk. "
            "If Redis or its machine fails now, it may be undone. Do it again to wait again; `gateway redis check` "
            "says what Redis promises"
        )


class MemoryFull(GatewayError):
    """As much long content waits for clients as this worker may hold, and this can be read from nowhere else."""


class StreamRevoked(GatewayError):
    """An open stream was ended: a request for it would be refused by now, for `reason`."""

    def __init__(self, reason: "Reason") -> None:
        super().__init__(f"a request for it would be refused by now: {reason}")
        self.reason = reason


class UpstreamError(GatewayError):
    """The backend gave no answer that can be passed on; `cause` is why, where more is known than the class says."""

    cause: Cause
    retry_after: int | None = None
    """Seconds after which it may be worth to ask again, where that can be told."""

    def __init__(self, *words: object, cause: Cause | None = None) -> None:
        super().__init__(*words)
        if cause is not None:
            self.cause = cause


class UpstreamUnreachable(UpstreamError):
    """No connection to the backend."""

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
    """Stored content was read as its client took it, and has been replaced or ended meanwhile."""


class UpstreamDropped(UpstreamBroken):
    """The backend's connection ended before any byte of an answer had come."""

    cause = Cause.CONNECTION_LOST


class BrokenDocument(UpstreamError):
    """The backend's document is not what the policy says it is; `place` is a JSON path in it.

    Both may have names of the document in them, which may be of any length: what is told of it is not.
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
