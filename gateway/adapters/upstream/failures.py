"""Causes of a backend's failures: found in what was raised, and logged when they begin and end."""

import errno
import logging
import math
import re
import socket
import ssl

from gateway.adapters.ports import Clock
from gateway.core.errors import UpstreamError
from gateway.core.upstream.causes import ADVICE, Cause

QUIET_SECONDS = 60.0
"""Seconds in which a backend that fails now and then is logged once, for each cause."""

BY_VERIFICATION = {
    10: Cause.CERTIFICATE_EXPIRED,
    18: Cause.CERTIFICATE_SELF_SIGNED,
    19: Cause.CERTIFICATE_UNKNOWN_AUTHORITY,
    20: Cause.CERTIFICATE_UNKNOWN_AUTHORITY,
    21: Cause.CERTIFICATE_UNKNOWN_AUTHORITY,
    62: Cause.CERTIFICATE_WRONG_NAME,
    64: Cause.CERTIFICATE_WRONG_NAME,
}
"""Causes by the X509_V_ERR codes of OpenSSL (X509_STORE_CTX_get_error(3))."""
BY_TLS_WORDS = {
    "wrong version number": Cause.PLAIN_HTTP,
    "record layer failure": Cause.PLAIN_HTTP,
    "packet length too long": Cause.PLAIN_HTTP,
    "no application protocol": Cause.HTTP2_ONLY,
}
"""Causes by OpenSSL's words, as Python has no code for all of it. Plain HTTP looks like TLS of a wrong version."""
_NUMBER = re.compile(r"\[Errno (\d+)\]")

logger = logging.getLogger(__name__)


def find_connect_cause(error: BaseException, *, has_tls: bool) -> Cause:
    """Return why there is no connection, from what the event loop raised."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return BY_VERIFICATION.get(error.verify_code, Cause.CERTIFICATE_INVALID)
    if isinstance(error, ssl.SSLError):
        said = str(error).lower().replace("_", " ")
        return next((cause for words, cause in BY_TLS_WORDS.items() if words in said), Cause.TLS_FAILED)
    if isinstance(error, socket.gaierror | UnicodeError):
        return Cause.UNRESOLVABLE
    if isinstance(error, TimeoutError):  # a timeout of the system is about the connection below TLS
        return Cause.TLS_TIMEOUT if has_tls and error.errno is None else Cause.CONNECT_TIMEOUT
    if isinstance(error, OSError):
        return _find_network_cause(error)
    return Cause.UNREACHABLE


def _find_network_cause(error: OSError) -> Cause:
    """Return the cause by the system's number.

    If several addresses failed, asyncio has the numbers only in the text.
    """
    numbers = {error.errno} if error.errno else {int(number) for number in _NUMBER.findall(str(error))}
    if numbers <= {errno.ECONNREFUSED, errno.ENOENT} and numbers:
        return Cause.REFUSED
    if errno.ETIMEDOUT in numbers:
        return Cause.CONNECT_TIMEOUT
    if isinstance(error, ConnectionResetError):  # it accepted the connection, and closed it during the TLS handshake
        return Cause.TLS_FAILED
    return Cause.UNREACHABLE


class FailureLog:
    """The log of one backend's failures; `cause` is why it fails now, None while it does not."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.cause: Cause | None = None
        self._name = name
        self._clock = clock
        self._failed = 0
        """Failed requests since the failure began."""
        self._is_told = False
        self._told_at: dict[Cause, float] = {}

    def record_failure(self, error: UpstreamError) -> None:
        """Count a failed request, and log its cause if it is new."""
        self._failed += 1
        if error.cause is self.cause:
            return
        self.cause, now = error.cause, self._clock.time()
        if now - self._told_at.get(error.cause, -math.inf) < QUIET_SECONDS:
            return
        self._told_at[error.cause] = now
        self._is_told = True
        words = str(error.__cause__ or "") or error
        logger.warning("backend %s: %s: %s (%s)", self._name, error.cause, ADVICE[error.cause], words)

    def record_success(self) -> None:
        """Record that a request was answered, and log the end of a failure that was logged."""
        if self._is_told:
            logger.warning("backend %s: answers again; %d requests failed", self._name, self._failed)
        self.cause, self._failed, self._is_told = None, 0, False
