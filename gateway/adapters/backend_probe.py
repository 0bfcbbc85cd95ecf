"""Requests to a backend past the gateway. They carry no secret, so whose certificate it shows does not matter."""

import hashlib
import http.client
import ssl
from urllib.parse import urlsplit

from gateway.core.http.messages import Field
from gateway.core.upstream.trust import NoAnswer, ProbeAnswer

TIMEOUT_SECONDS = 10
MAXIMUM_BYTES = 1 << 20
"""Of content that is compared."""


def ask_backend(url: str, fields: list[Field]) -> ProbeAnswer | NoAnswer:
    """Send a GET with these fields over a connection of its own, and return the answer."""
    parts = urlsplit(url)
    connection = _connect(parts.scheme, parts.hostname or "", parts.port)
    target = f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}"
    try:
        connection.putrequest("GET", target)
        for name, value in fields:
            connection.putheader(name.decode(), value)
        connection.endheaders()
        response = connection.getresponse()
        return ProbeAnswer(response.status, hashlib.sha256(response.read(MAXIMUM_BYTES)).hexdigest())
    except ssl.SSLError as error:
        return NoAnswer(f"TLS: {error.reason or error}")
    except (OSError, http.client.HTTPException) as error:
        return NoAnswer(str(error) or type(error).__name__)
    finally:
        connection.close()


def _connect(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=context)
