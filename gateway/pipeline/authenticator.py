"""Authenticate requests before anything is looked up: one place for the public listener and the management API.

Rule: no other module turns the credential of a request into a digest, and no other counts a credential as a guess.
"""

from gateway.adapters.ports import FailedCredentials
from gateway.core.admission.decision import FAILED_CREDENTIALS, Refused
from gateway.core.http.messages import RequestHead
from gateway.core.http.reasons import Reason
from gateway.core.policies.model import Policy, Rule
from gateway.core.tokens.credentials import find_credential
from gateway.core.tokens.text import digest


class Authenticator:
    """The reader of credentials. `failures` is the guard against guessing, None if it is off."""

    def __init__(self, failures: FailedCredentials | None, pepper: bytes) -> None:
        self._failures = failures
        self._pepper = pepper

    def authenticate(self, request: RequestHead, rule: Rule) -> str | Refused:
        """Return the digest of the token that the request presents, or the refusal, without IO."""
        presented = find_credential(request.fields, rule.policy)
        if presented is Reason.MISSING_CREDENTIALS:
            return Refused(presented, rule)
        is_guarded = self._failures is not None and request.answered is None  # else it was let through before
        blocked_for = self.blocked_for(request) if is_guarded else None
        if blocked_for is not None:  # before the credential is checked
            return Refused(Reason.TOO_MANY_FAILURES, rule, retry_after=blocked_for)
        if isinstance(presented, Reason):
            return self.refuse(request, Refused(presented, rule))
        return digest(presented, self._pepper)

    def blocked_for(self, request: RequestHead) -> int | None:
        """Return seconds until the client may present credentials again, or None if it may now."""
        return self._failures.retry_after(request.client) if self._failures else None

    def read_digest(self, request: RequestHead, policy: Policy) -> str | Reason:
        """Return the digest for a request that was authenticated before.

        No guard applies, and it counts as no guess.
        """
        presented = find_credential(request.fields, policy)
        return presented if isinstance(presented, Reason) else digest(presented, self._pepper)

    def refuse(self, request: RequestHead, refused: Refused) -> Refused:
        """Return the refusal of a credential for which no token exists, and count it if it may be a guess."""
        if self._failures is not None and refused.reason in FAILED_CREDENTIALS:
            self._failures.record_failure(request.client)
        return refused
