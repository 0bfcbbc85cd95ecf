"""TLS towards backends: always verified, by the authorities that the policy names or the system trusts."""

import ssl
from pathlib import Path

from gateway.core.policies.model import Tls, Upstream


class TlsContexts:
    """The contexts that connections use. Renewed files count for the next connection, without a reload."""

    def __init__(self) -> None:
        self._contexts: dict[Tls, tuple[tuple[float, ...], ssl.SSLContext]] = {}

    def find(self, tls: Tls) -> ssl.SSLContext:
        """Return the context for a policy's `tls`. Raise OSError or ValueError if its files cannot be used."""
        changed_at = tuple(Path(file).stat().st_mtime for file in tls.files)
        known = self._contexts.get(tls)
        if known is None or known[0] != changed_at:
            self._contexts[tls] = known = (changed_at, build_context(tls))
        return known[1]


def build_context(tls: Tls) -> ssl.SSLContext:
    """Return a context that verifies certificates and names. Raise OSError or ValueError."""
    context = ssl.create_default_context(cafile=tls.ca or None)
    context.set_alpn_protocols(["http/1.1"])
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key or None, password=_refuse_password)
    return context


def find_tls_mistake(upstream: Upstream) -> str | None:
    """Return what is wrong with the files that an upstream names, in the system's words, or None."""
    for file in upstream.tls.files:
        try:
            Path(file).read_bytes()
        except OSError as error:
            return f"{file}: {error.strerror or error}"
    try:
        build_context(upstream.tls)
    except (OSError, ValueError) as error:
        return f"{', '.join(upstream.tls.files)}: {error}"
    return None


def _refuse_password() -> str:
    raise ValueError("the key is locked with a password: nobody is there to type it")
