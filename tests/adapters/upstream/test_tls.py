"""TLS towards backends: who is believed, by what name, and what the gateway shows of itself."""

import os
import ssl
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.adapters.policy_files import read_policies
from gateway.core.errors import ConfigurationError, UpstreamUnreachable
from gateway.core.policies.model import Tls
from tests.adapters.raw_backend import OK, Peer, RawBackend, always, fetch, http_upstreams, on_both_loops
from tests.support.certificates import issue, make_authority, openssl

POLICY = """
name = "small"
upstream = {{ url = "https://127.0.0.1:1", tls = {tls} }}
[token]
prefixes = ["sml_"]
[[rules]]
match = "* /**"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a backend of it called app.internal, and a client of it."""
    folder = tmp_path_factory.mktemp("tls")
    make_authority(folder)
    issue(folder, "backend", "DNS:app.internal")
    issue(folder, "client", "DNS:gateway.internal")
    (folder / "both.pem").write_text((folder / "client.pem").read_text() + (folder / "client.key").read_text())
    return folder


def server_tls(folder: Path, *, asks_for_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "backend.pem", folder / "backend.key")
    context.verify_mode = ssl.CERT_REQUIRED if asks_for_certificate else ssl.CERT_NONE
    return context


def tls_of(folder: Path, **files: str) -> Tls:
    paths = {key: str(folder / file) for key, file in files.items()}
    return Tls(**{"ca": str(folder / "ca.pem"), "server_name": "app.internal", **paths})


@on_both_loops
async def test_the_name_that_the_policy_expects(folder: Path) -> None:
    """A certificate for another name than the target's host will do if the policy says so, and only then."""
    async with RawBackend(always(OK), server_tls(folder)) as backend, http_upstreams() as upstreams:
        assert b"ok" == (await fetch(upstreams, backend.address(tls=tls_of(folder))))[1]
        for name in ("", "other.internal"):
            with pytest.raises(UpstreamUnreachable, match="certificate verify failed"):
                await fetch(upstreams, backend.address(tls=replace(tls_of(folder), server_name=name)))
        assert 1 == len(backend.heads)


@on_both_loops
async def test_the_authority_of_the_policy_is_the_only_one(folder: Path, tmp_path: Path) -> None:
    """A certificate of another authority is refused, and the backend is sent nothing."""
    make_authority(tmp_path, "Other")
    async with RawBackend(always(OK), server_tls(folder)) as backend, http_upstreams() as upstreams:
        with pytest.raises(UpstreamUnreachable, match="certificate verify failed"):
            await fetch(upstreams, backend.address(tls=replace(tls_of(folder), ca=str(tmp_path / "ca.pem"))))
        assert [] == backend.heads


@on_both_loops
@pytest.mark.parametrize("files", [{"certificate": "client.pem", "key": "client.key"}, {"certificate": "both.pem"}])
async def test_a_certificate_of_ones_own(folder: Path, files: dict[str, str]) -> None:
    """A backend that asks for a certificate gets it, from one file or two."""
    shown: list[object] = []

    async def look(peer: Peer) -> None:
        shown.append(peer.writer.get_extra_info("peercert")["subject"])
        await peer.answer(OK)

    tls = server_tls(folder, asks_for_certificate=True)
    async with RawBackend(look, tls) as backend, http_upstreams() as upstreams:
        assert b"ok" == (await fetch(upstreams, backend.address(tls=tls_of(folder, **files))))[1]
    assert [((("commonName", "client"),),)] == shown


@on_both_loops
async def test_renewed_files_count_for_the_next_connection(folder: Path, tmp_path: Path) -> None:
    """A certificate that was renewed on disk is shown without a reload; one that is broken reaches nobody."""
    names: list[str] = []

    async def look(peer: Peer) -> None:
        names.append(peer.writer.get_extra_info("peercert")["subject"][0][0][1])
        await peer.answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    shown = tmp_path / "shown.pem"
    shown.write_bytes((folder / "both.pem").read_bytes())
    tls = server_tls(folder, asks_for_certificate=True)
    async with RawBackend(look, tls) as backend, http_upstreams() as upstreams:
        address = backend.address(tls=replace(tls_of(folder), certificate=str(shown)))
        await fetch(upstreams, address)
        shown.write_text((folder / "backend.pem").read_text() + (folder / "backend.key").read_text())
        os.utime(shown, (1, 1))
        await fetch(upstreams, address)
        shown.write_text("no certificate")
        os.utime(shown, (2, 2))
        with pytest.raises(UpstreamUnreachable):
            await fetch(upstreams, address)
    assert ["client", "backend"] == names


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        ('{{ ca = "{folder}/none.pem" }}', "$.upstream.tls: {folder}/none.pem: No such file or directory"),
        ('{{ certificate = "{folder}/client.pem", key = "{folder}/none.key" }}', "{folder}/none.key: No such file"),
        ('{{ certificate = "{folder}/client.pem" }}', "$.upstream.tls: {folder}/client.pem: [SSL] PEM lib"),
        ('{{ ca = "{folder}/client.key" }}', "$.upstream.tls: {folder}/client.key: "),
        ('{{ certificate = "{folder}/client.pem", key = "{folder}/backend.key" }}', "KEY_VALUES_MISMATCH"),
        ('{{ certificate = "{folder}/client.pem", key = "{folder}/locked.key" }}', "locked with a password"),
    ],
)
def test_files_that_cannot_be_used_are_mistakes(folder: Path, tmp_path: Path, tls: str, message: str) -> None:
    """They are found when the policy is loaded, with file and place."""
    openssl(folder, "ec -in client.key -aes128 -passout pass:secret -out locked.key")
    file = tmp_path / "small.toml"
    file.write_text(POLICY.format(tls=tls.format(folder=folder)))
    with pytest.raises(ConfigurationError) as caught:
        read_policies(tmp_path, {})
    (mistake,) = caught.value.mistakes
    assert mistake.startswith(f"{file}: $.upstream.tls: ")
    assert message.format(folder=folder) in mistake


def test_files_that_can_be_used_are_none(folder: Path, tmp_path: Path) -> None:
    """Authority, certificate and key together."""
    tls = f'{{ ca = "{folder}/ca.pem", certificate = "{folder}/client.pem", key = "{folder}/client.key" }}'
    (tmp_path / "small.toml").write_text(POLICY.format(tls=tls))
    assert f"{folder}/ca.pem" == read_policies(tmp_path, {}).policies["small"].upstream.tls.ca
