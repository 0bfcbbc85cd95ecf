"""TLS towards clients: one certificate and key, taken up when their files are renewed, without a restart.

A connection keeps what it was opened with; the next one has what is in the files. If these cannot be used, as while
they are being written, the last good pair stays, and the log says so once for each state of the files.
"""

import logging
import ssl
from pathlib import Path

import msgspec

from gateway.core.errors import ConfigurationError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Cipher suites of TLS 1.2: forward secrecy and authenticated encryption (RFC 9325 4.2). TLS 1.3 has only such."""

logger = logging.getLogger(__name__)


class TlsFiles(msgspec.Struct, frozen=True):
    """The files of a listener, in PEM form. An empty `key`: it is in the file of the certificate."""

    certificate: str
    key: str = ""
    client_ca: str = ""
    """Authorities of which clients must have a certificate; empty: clients need none."""

    @property
    def names(self) -> tuple[str, ...]:
        """The files that are named."""
        return tuple(filter(None, (self.certificate, self.key, self.client_ca)))


class ListenerTls:
    """The context for new connections. Raises ConfigurationError at first if the files cannot be used."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._state = _state_of(files)
        try:
            self._context = build_server_context(files)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"tls: {_describe(files, error)}") from error

    def find_context(self) -> ssl.SSLContext:
        """Return the context of the files as they are now, or the last good one."""
        state = _state_of(self._files)
        if state != self._state:
            self._state = state
            try:
                self._context = build_server_context(self._files)
            except (OSError, ValueError) as error:
                logger.error(  # noqa: TRY400 - the files matter, not the stack
                    "tls: %s; the last good certificate stays until the files are right", _describe(self._files, error)
                )
            else:
                logger.info("tls: new connections use the renewed files: %s", ", ".join(self._files.names))
        return self._context


def open_tls(files: TlsFiles) -> ListenerTls | None:
    """Return the TLS of a listener, or None if no certificate is named. Raise ConfigurationError."""
    if files.certificate:
        return ListenerTls(files)
    for option, value in (("--tls-key", files.key), ("--tls-client-ca", files.client_ca)):
        if value:
            raise ConfigurationError(f"tls: {option} needs --tls-cert")
    return None


def build_server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context of TLS 1.2 and 1.3 for HTTP/1.1. Raise OSError or ValueError if the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    for file in files.names:
        Path(file).read_bytes()  # OpenSSL's own errors do not name the file
    context.load_cert_chain(files.certificate, files.key or None, password=_refuse_password)
    if files.client_ca:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _state_of(files: TlsFiles) -> tuple[tuple[int, ...], ...]:
    """Return what differs once a file is renewed, in place or by another one; a missing file has no numbers."""

    def look(name: str) -> tuple[int, ...]:
        try:
            found = Path(name).stat()
        except OSError:
            return ()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    return tuple(map(look, files.names))


def _describe(files: TlsFiles, error: Exception) -> str:
    """Return what is wrong with which files. The error's text has none of their content."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return f"{', '.join(files.names)}: {error}"


def _refuse_password() -> str:
    raise ValueError("the key is locked with a password, which the gateway cannot type; store it unlocked")
