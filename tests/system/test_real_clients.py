"""Programs that nobody wrote for this gateway, with a token of it: requests, i18next, git, pip, npm, docker.

They show their credential in the ways that they know. `credential = "basic"` takes the password of those that know no
other one.
"""

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.consumers import MAXIMUM_SECONDS, install_consumers
from tests.support.programs import find_optional, find_program
from tests.support.shared_gateway import SharedGateway
from tests.system.conftest import Share, mint

POLICY = """
name = "system"
upstream = {{ url = "http://127.0.0.1:{backend}", host = "client" }}
[token]
prefixes = ["sys_"]
credential = {credential}
[[rules]]
match = "GET /i18n/{{file}}"
cache = {{ fresh = "1h" }}
[[rules]]
match = "* /**"
"""
WHEEL = "demo_package-1.0-py3-none-any.whl"
TOKENS = {"color": {"$type": "color", "link": {"$value": "#1f5fd6"}}}
CONFIG = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
CONFIG_DIGEST = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(CONFIG),
            "digest": CONFIG_DIGEST,
        },
        "layers": [],
    }
).encode()


def build_wheel() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("demo_package.py", "WORD = 'pulled'\n")
        info = "demo_package-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: demo-package\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return file.getvalue()


def build_npm_package() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in (
            ("package.json", '{"name": "demo-package", "version": "1.0.0", "main": "index.js"}'),
            ("index.js", "module.exports = 'pulled';\n"),
        ):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return file.getvalue()


NPM_PACKAGE = build_npm_package()
FILES: dict[str, tuple[str, bytes]] = {
    "/i18n/de.json": ("application/json", b'{"title": "Willkommen"}'),
    "/tokens.json": ("application/json", json.dumps(TOKENS).encode()),
    "/simple/demo-package/": ("text/html", f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode()),
    f"/files/{WHEEL}": ("application/octet-stream", build_wheel()),
    "/npm/demo-package/-/demo-package-1.0.0.tgz": ("application/octet-stream", NPM_PACKAGE),
    "/v2/": ("application/json", b"{}"),
    f"/v2/demo/blobs/{CONFIG_DIGEST}": ("application/octet-stream", CONFIG),
    "/v2/demo/manifests/latest": ("application/vnd.docker.distribution.manifest.v2+json", MANIFEST),
}


class Registry(BaseHTTPRequestHandler):
    """A backend with packages, an image, texts, and a repository that git's own program serves."""

    repositories: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/git/"):
            self.serve_git(b"")
        elif path == "/npm/demo-package":
            self.answer("application/json", json.dumps(self.describe_npm_package()).encode())
        elif path in FILES:
            self.answer(*FILES[path])
        else:
            self.answer("text/plain", b"nothing is here", 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.serve_git(self.read_content())

    def read_content(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def answer(self, media_type: str, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        if media_type.startswith("application/vnd.docker"):
            self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(content).hexdigest()}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def describe_npm_package(self) -> dict[str, Any]:
        url = f"http://{self.headers['host']}/npm/demo-package/-/demo-package-1.0.0.tgz"
        integrity = f"sha512-{base64.b64encode(hashlib.sha512(NPM_PACKAGE).digest()).decode()}"
        version = {"name": "demo-package", "version": "1.0.0", "dist": {"tarball": url, "integrity": integrity}}
        return {"name": "demo-package", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}

    def serve_git(self, content: bytes) -> None:
        parts = urlsplit(self.path)
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": parts.path.removeprefix("/git"),
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(content)),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], env=environment, input=content, capture_output=True, check=True
        ).stdout
        head, _, body = done.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.answer(fields["Content-Type"], body, int(fields.get("Status", "200").split()[0]))

    def log_message(self, *_: object) -> None:
        """Say nothing: the access log of the gateway says what was asked."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The backend, running, with a repository of one commit."""
    git, folder = find_program("git"), tmp_path_factory.mktemp("git")
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main")
    work = folder / "work"
    subprocess.run([git, *identity, "init", "-q", str(work)], check=True)
    (work / "file.txt").write_text("committed")
    subprocess.run([git, "-C", str(work), "add", "."], check=True)
    subprocess.run([git, *identity, "-C", str(work), "commit", "-qm", "first"], check=True)
    subprocess.run([git, "clone", "-q", "--bare", str(work), str(folder / "demo.git")], check=True)
    handler = type("OfThisFolder", (Registry,), {"repositories": folder})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(params=['["bearer", "basic"]'])
def gateway(share: Share, registry: int, policies: Path, request: pytest.FixtureRequest) -> SharedGateway:
    """A gateway in front of it."""
    (policies / "system.toml").write_text(POLICY.format(backend=registry, credential=request.param))
    return share()


only_basic = pytest.mark.parametrize("gateway", ['"basic"'], indirect=True)
"""A client that reads the challenges and would take another one."""


@pytest.fixture
def token(gateway: SharedGateway, redis_url: str, policies: Path) -> str:
    return mint(redis_url, policies)["token"]


def run(*words: str | Path, at: Path, code: int = 0, **environment: str) -> str:
    """Return what a program printed, in a home of its own."""
    done = subprocess.run(
        list(map(str, words)),
        cwd=at,
        env={**os.environ, "HOME": str(at), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=MAXIMUM_SECONDS,
    )
    assert code == done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


WRONG = "sys_" + "0" * 40


def test_requests_presents_a_token_in_both_ways(gateway: SharedGateway, token: str) -> None:
    """As Bearer, and as the password of any user; a tag gets a 304."""
    url = f"http://127.0.0.1:{gateway.port}/i18n/de.json"
    bearer = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=15)
    basic = requests.get(url, auth=("anybody", token), timeout=15)
    assert [(200, {"title": "Willkommen"})] * 2 == [(one.status_code, one.json()) for one in (bearer, basic)]
    again = requests.get(url, auth=("x", token), headers={"If-None-Match": basic.headers["ETag"]}, timeout=15)
    assert (304, b"") == (again.status_code, again.content)
    refused = requests.get(url, auth=("anybody", WRONG), timeout=15)
    assert 401 == refused.status_code
    assert 'Basic realm="system", charset="UTF-8"' in refused.headers["WWW-Authenticate"]


def test_i18next_loads_a_language(
    gateway: SharedGateway, token: str, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    """By its HTTP backend, with the field that its documentation names; a token that is refused loads none."""
    script = install_consumers(pytestconfig) / "i18next.mjs"
    url = f"http://127.0.0.1:{gateway.port}/i18n/{{{{lng}}}}.json"
    shown = run("node", script, at=tmp_path, URL=url, TOKEN=token, KEY="title")
    assert {"text": "Willkommen", "is_loaded": True} == json.loads(shown)
    shown = run("node", script, at=tmp_path, URL=url, TOKEN=WRONG, KEY="title")
    assert {"text": "title", "is_loaded": False} == json.loads(shown)


def test_style_dictionary_builds_what_was_pulled(
    gateway: SharedGateway, token: str, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    """`gateway pull`, then the build: the variables of the stylesheet are those of the export."""
    script = install_consumers(pytestconfig) / "build.mjs"
    url = f"http://127.0.0.1:{gateway.port}/tokens.json"
    run(sys.executable, "-m", "gateway", "pull", url, "-o", "tokens.json", at=tmp_path, GATEWAY_TOKEN=token)
    run("node", script, tmp_path / "tokens.json", tmp_path, at=tmp_path)
    assert "--color-link: #1f5fd6;" in (tmp_path / "variables.css").read_text()


def test_git_clones_through_a_rule(gateway: SharedGateway, token: str, tmp_path: Path) -> None:
    """With the token as the password that a credential helper gives; without one it asks nobody and fails."""
    url = f"http://127.0.0.1:{gateway.port}/git/demo.git"
    helper = '!f() { echo username=token; echo "password=$TOKEN"; }; f'
    git = ("git", "-c", f"credential.helper={helper}", "clone", "-q", url)
    run(*git, "clone", at=tmp_path, TOKEN=token)
    assert "committed" == (tmp_path / "clone" / "file.txt").read_text()
    run("git", "-C", "clone", "-c", f"credential.helper={helper}", "fetch", "-q", at=tmp_path, TOKEN=token)
    said = run(*git, "refused", at=tmp_path, TOKEN=WRONG, GIT_TERMINAL_PROMPT="0", code=128)
    assert "Authentication failed" in said
    assert token not in (tmp_path / "clone" / ".git" / "config").read_text()


def test_pip_installs_from_an_index_behind_the_gateway(gateway: SharedGateway, token: str, tmp_path: Path) -> None:
    """With the token as a password, in netrc and in the URL of the index."""
    index = f"127.0.0.1:{gateway.port}/simple/"
    netrc = tmp_path / ".netrc"
    pip = (sys.executable, "-m", "pip", "--isolated", "download", "--no-deps", "--no-cache-dir", "--no-input")
    netrc.write_text(f"machine 127.0.0.1 login token password {token}\n")
    run(*pip, "--index-url", f"http://{index}", "--dest", "a", "demo-package", at=tmp_path, NETRC=str(netrc))
    netrc.unlink()
    run(*pip, "--index-url", f"http://x:{token}@{index}", "--dest", "b", "demo-package", at=tmp_path)
    assert [FILES[f"/files/{WHEEL}"][1]] * 2 == [(tmp_path / one / WHEEL).read_bytes() for one in "ab"]
    run(*pip, "--index-url", f"http://x:{WRONG}@{index}", "--dest", "c", "demo-package", at=tmp_path, code=1)


@pytest.mark.parametrize("kind", ["_authToken", "_auth"])
def test_npm_installs_from_a_registry_behind_the_gateway(
    gateway: SharedGateway, token: str, tmp_path: Path, kind: str
) -> None:
    """With the token as Bearer, and as a password; the archive comes through the gateway, too."""
    npm, registry = find_optional("npm"), f"//127.0.0.1:{gateway.port}/npm/"
    quietly = ("--no-audit", "--no-fund", "--fetch-retries=0", "--cache", str(tmp_path / "cache"))
    for text, code in ((token, 0), (WRONG, 1)):
        folder = tmp_path / f"project-{code}"
        folder.mkdir()
        secret = text if kind == "_authToken" else base64.b64encode(f"x:{text}".encode()).decode()
        (folder / ".npmrc").write_text(f"registry=http:{registry}\n{registry}:{kind}={secret}\n")
        (folder / "package.json").write_text("{}")
        run(npm, "install", *quietly, "--prefer-online", "demo-package", at=folder, code=code)
    word = run("node", "-p", "require('demo-package')", at=tmp_path / "project-0")
    assert "pulled\n" == word


@only_basic
def test_dockers_client_reads_an_image_behind_the_gateway(gateway: SharedGateway, token: str, tmp_path: Path) -> None:
    """By its registry protocol, which begins with a challenge; the client needs no daemon for a manifest."""
    docker, registry = find_optional("docker"), f"127.0.0.1:{gateway.port}"
    for text, code in ((token, 0), (WRONG, 1)):
        folder = tmp_path / str(code)
        folder.mkdir()
        auth = base64.b64encode(f"token:{text}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
        command = (docker, "--config", folder, "manifest", "inspect", "--insecure", f"{registry}/demo:latest")
        said = run(*command, at=folder, code=code)
        if code == 0:
            assert json.loads(MANIFEST) == json.loads(said)
