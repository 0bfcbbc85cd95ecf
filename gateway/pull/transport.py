"""One request over libcurl, which keeps to proxies (`HTTPS_PROXY`, `NO_PROXY`), private CAs, IPv6 and HTTP/2.

Redirects are not followed: a token goes to the address that it was meant for, and to no other.
"""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pycurl

from . import __version__

CA_VARIABLES = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
"""Where operators say which authorities they trust, beside the option."""
CONNECT_SECONDS = 15
SILENT_SECONDS = 60
"""Without a byte, after which a transfer counts as broken."""
_FINAL = frozenset(
    {
        pycurl.E_UNSUPPORTED_PROTOCOL,
        pycurl.E_URL_MALFORMAT,
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_CERTPROBLEM,
    }
)
"""Errors that another attempt meets again."""
_ADVICE = {
    pycurl.E_PEER_FAILED_VERIFICATION: "name the private authority of the server, if it has one, with --ca",
    pycurl.E_SSL_CACERT_BADFILE: "name a readable file of PEM certificates with --ca",
    pycurl.E_COULDNT_RESOLVE_HOST: "check the host of the URL",
    pycurl.E_COULDNT_RESOLVE_PROXY: "check HTTPS_PROXY",
}

Fields = Sequence[tuple[str, str]]
Receive = Callable[[bytes], None]


class Head(msgspec.Struct, frozen=True):
    """The head of an answer; names of fields are in lower case."""

    status: int
    fields: Fields

    def field(self, name: str) -> str:
        """Return the value of a field, its lines joined by commas (RFC 9110 5.3); empty if there is none."""
        return ", ".join(value for one, value in self.fields if one == name)


class Broken(msgspec.Struct, frozen=True):
    """No complete answer: what happened and what to do."""

    message: str
    is_final: bool = False
    """Whether another attempt would meet the same."""


class Transport:
    """The requests of several threads. Each thread keeps its connections."""

    def __init__(self, ca_file: str, stopped: threading.Event) -> None:
        self._ca_file = ca_file or next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), "")
        self._stopped = stopped
        self._local = threading.local()

    def get(self, url: str, fields: Fields, begin: Callable[[Head], Receive], seconds: float) -> Head | Broken:
        """Send a GET, and give the content of the answer to what `begin` returns for its head.

        Return the head if the answer is complete. `seconds` bounds all of it. Raises what `begin` and its result raise.
        """
        return self._perform(self._handle(), url, fields, begin, seconds)

    def post(
        self, url: str, fields: Fields, content: bytes, begin: Callable[[Head], Receive], seconds: float
    ) -> Head | Broken:
        """Send a POST with this content, and do with the answer as `get` does."""
        curl = self._handle()
        curl.setopt(pycurl.POSTFIELDS, content)
        return self._perform(curl, url, fields, begin, seconds)

    def _perform(
        self, curl: Any, url: str, fields: Fields, begin: Callable[[Head], Receive], seconds: float
    ) -> Head | Broken:
        reader = _Reader(begin)
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in fields])
        curl.setopt(pycurl.HEADERFUNCTION, reader.read_field)
        curl.setopt(pycurl.WRITEFUNCTION, reader.read_content)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, int(seconds * 1000)))
        try:
            curl.perform()
        except pycurl.error as error:
            if reader.error is not None:
                raise reader.error from None
            code, text = error.args
            advice = f"; {_ADVICE[code]}" if code in _ADVICE else ""
            return Broken(f"{text or f'libcurl error {code}'}{advice}", code in _FINAL or self._stopped.is_set())
        return reader.begin_content()

    def _handle(self) -> Any:
        if not hasattr(self._local, "curl"):
            self._local.curl = pycurl.Curl()
        curl = self._local.curl
        curl.reset()
        options = {
            pycurl.NOSIGNAL: 1,  # threads
            pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.FOLLOWLOCATION: 0,
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS,
            pycurl.USERAGENT: f"gateway-pull/{__version__}",
            pycurl.CONNECTTIMEOUT: CONNECT_SECONDS,
            pycurl.LOW_SPEED_LIMIT: 1,
            pycurl.LOW_SPEED_TIME: SILENT_SECONDS,
            pycurl.NOPROGRESS: 0,
            pycurl.XFERINFOFUNCTION: lambda *_: int(self._stopped.is_set()),
        }
        for option, value in options.items():
            curl.setopt(option, value)
        if self._ca_file:
            curl.setopt(pycurl.CAINFO, self._ca_file)
        return curl


class _Reader:
    """What libcurl calls with the parts of an answer."""

    def __init__(self, begin: Callable[[Head], Receive]) -> None:
        self.error: Exception | None = None
        self._begin = begin
        self._lines: list[bytes] = []
        self._head: Head | None = None
        self._receive: Receive | None = None

    def read_field(self, line: bytes) -> None:
        if line.startswith(b"HTTP/"):
            self._lines = []  # behind the answer of a proxy to CONNECT, or an interim one (RFC 9110 15.2)
        self._lines.append(line)

    def read_content(self, piece: bytes) -> int | None:
        try:
            self.begin_content()
            if self._receive is not None:
                self._receive(piece)
        except Exception as error:
            self.error = error
            return 0  # which ends the transfer
        return None

    def begin_content(self) -> Head:
        """Return the head. It is complete: the first piece of content, or the end of the answer is there."""
        if self._head is None:
            status = 0
            with suppress(IndexError, ValueError):
                status = int(self._lines[0].split()[1])
            pairs = [line.decode("latin-1").partition(":") for line in self._lines[1:]]
            self._head = Head(status, [(name.strip().lower(), value.strip()) for name, colon, value in pairs if colon])
            self._receive = self._begin(self._head)
        return self._head
