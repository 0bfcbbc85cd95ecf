"""Build the package, look at what is in it, and use it as somebody does who has no checkout. Run by `make package`.

Each step prints what it did and how long it took; the first that fails ends the run with exit code 1.
"""

import http.client
import http.server
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
EXAMPLE = ROOT / "tests" / "examples" / "litestar_app"
MOST_PACKAGES = 5
"""Where gateway-pull is installed, with itself."""
READY_SECONDS = 60
"""Ample: on a busy machine the first import, which compiles all modules, takes a while."""
SHIPPED = (
    "gateway/py.typed",
    "gateway/starter/policy.toml",
    "gateway/demo/policy.toml",
    "gateway/adapters/scripts/admit.lua",
    "gateway/pages/templates/base.html",
)
"""Of each kind of file that is no module, one by name: should a folder move, what is left out is noticed."""
SDIST_TOPS = {"gateway", "pyproject.toml", "CHANGELOG.md", "LICENSE", "README.md", "PKG-INFO", ".gitignore"}
TOKEN = (
    "from gateway.core.tokens.text import build_checksum; text = 'api_' + 'x' * 34; print(text + build_checksum(text))"
)
"""A well-formed token that nobody has: the gateway has to ask the store for it."""
APP = """\
from litestar import get
from gateway.plugin import GatewayPlugin, Principal, requires

@get("/me", guards=[requires("read")])
async def me(principal: Principal) -> str:
    return principal.token_name

def build() -> GatewayPlugin:
    return GatewayPlugin(policy="api")

GatewayPlugin(policy=5)  # type: ignore[arg-type]
"""
"""What mypy has no error for only if it knows the package's types: else the ignore is one that nothing needs."""


class StepFailed(Exception):
    """A step did not get what it expected."""


def main() -> None:
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="gateway-package-") as folder:
            rehearse(Path(folder))
    except StepFailed as error:
        sys.exit(f"package: {error}")
    print(f"package: all steps went well in {time.monotonic() - started:.0f} s", flush=True)


def rehearse(folder: Path) -> None:
    """Go all the way from the sources to requests, in an empty environment."""
    with step("build dist/"):
        shutil.rmtree(DIST, ignore_errors=True)
        # By what requirements.lock pins: the wheel is made of the sdist, so that has all it needs.
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, ROOT, at=folder)
        (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    with step(f"look into {wheel.name} and {sdist.name}"):
        check_wheel(wheel)
        check_sdist(sdist)
    binaries = folder / "venv" / "bin"
    with step("install the wheel, with the newest versions that it allows"):
        run(sys.executable, "-m", "venv", folder / "venv", at=folder)
        run(binaries / "pip", "install", "--quiet", wheel, at=folder)
    with step("gateway init my-policies"):
        run(binaries / "gateway", "init", "my-policies", at=folder)
        run(binaries / "gateway", "init", "my-policies", at=folder, expected=2)
        run(binaries / "gateway", "policy", "check", "my-policies", at=folder)
    with step("install the extra: demo"):
        run(binaries / "pip", "install", "--quiet", f"{wheel}[demo]", at=folder)
    with step("gateway demo --once"):
        run(binaries / "gateway", "demo", "--once", at=folder)
    with step("gateway serve --redis memory:// --policies my-policies"):
        serve(binaries, folder)
    with step("gateway-pull in an environment of its own"):
        pull_alone(folder)
    with step("mypy --strict on an app with the plugin, and on a repository of one, with its tests"):
        (folder / "app.py").write_text(APP, encoding="utf-8")
        run(binaries / "pip", "install", "--quiet", "mypy", "pytest", "httpx", at=folder)
        run(binaries / "mypy", "--strict", "app.py", at=folder)
        sample = folder / EXAMPLE.name
        shutil.copytree(EXAMPLE, sample, ignore=shutil.ignore_patterns("__pycache__"))
        run(binaries / "mypy", "--strict", ".", at=sample)
        run(binaries / "python", "-m", "pytest", "--quiet", at=sample)


def pull_alone(folder: Path) -> None:
    """Install gateway-pull without a server: few packages, a quick start, and a file that arrives."""
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        DIST,
        ROOT / "deploy" / "pull",
        at=folder,
    )
    (wheel,) = DIST.glob("token_gateway_pull-*.whl")
    binaries = folder / "pull" / "bin"
    run(sys.executable, "-m", "venv", "--without-pip", folder / "pull", at=folder)
    run(sys.executable, "-m", "pip", "--python", binaries / "python", "install", "--quiet", wheel, at=folder)
    installed = run(sys.executable, "-m", "pip", "--python", binaries / "python", "list", "--format=freeze", at=folder)
    expect(f"at most {MOST_PACKAGES} packages", True, len(installed.splitlines()) <= MOST_PACKAGES)
    run(binaries / "gateway-pull", "--version", at=folder)
    started = time.monotonic()
    run(binaries / "gateway-pull", "--version", at=folder)
    print(f" starts in {1000 * (time.monotonic() - started):.0f} ms,", end="", flush=True)
    with backend() as upstream:
        os.environ["TOKEN_OF_PULL"] = "t"
        words = ("--token-variable", "TOKEN_OF_PULL", "--exit-code")
        run(binaries / "gateway-pull", f"{upstream}/export", "-o", "export.txt", *words, at=folder, expected=10)
    expect("export.txt", b"", (folder / "export.txt").read_bytes())


def check_wheel(wheel: Path) -> None:
    """Check that the wheel has the package as it is in the sources, the licence, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    shipped = {name for name in names if name.startswith("gateway/")}
    expect(f"{wheel.name}: files that are not in gateway/", set(), shipped - sources)
    expect(f"{wheel.name}: missing files", set(), (sources | {*SHIPPED}) - shipped)
    others = {name.split("/", 1)[1] for name in names - shipped}
    expect(f"{wheel.name}: metadata", {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}, others)


def check_sdist(sdist: Path) -> None:
    """Check that the sdist has the sources of the wheel, and no tests."""
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    expect(f"{sdist.name}: unknown files", set(), {name.split("/")[0] for name in names} - SDIST_TOPS)
    expect(f"{sdist.name}: missing files", set(), {*SHIPPED, "LICENSE"} - names)


def serve(binaries: Path, folder: Path) -> None:
    """Serve the starter policy with the embedded store, and ask for what anybody, nobody and a stranger may have."""
    port = free_port()
    token = run(binaries / "python", "-c", TOKEN, at=folder).strip()
    with backend() as upstream, (folder / "serve.log").open("wb") as log:
        store = ("--redis", "memory://", "--policies", "my-policies", "--upstream", f"api={upstream}")
        listeners = ("--listen", f"127.0.0.1:{port}", "--admin-listen", "")
        command = [str(binaries / "gateway"), "serve", *store, *listeners]
        gateway = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until_ready(gateway, port, folder / "serve.log")
            expect("GET /health", 200, ask(port, "/health"))
            expect("an export without a token", 401, ask(port, "/api/v1/projects/website/export"))
            expect("an export with an unknown token", 401, ask(port, "/api/v1/projects/website/export", token))
            expect("a path without a rule", 404, ask(port, "/elsewhere"))
        finally:
            gateway.terminate()
            gateway.wait(READY_SECONDS)
    expect("exit code of gateway serve", 0, gateway.returncode)


def wait_until_ready(gateway: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Return when /-/ready answers 200."""
    deadline = time.monotonic() + READY_SECONDS
    while (status := ask(port, "/-/ready")) != 200:
        if gateway.poll() is not None or time.monotonic() > deadline:
            raise StepFailed(f"/-/ready: expected 200, got {status}; the log:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)


def ask(port: int, path: str, token: str = "") -> int:
    """Return the status of a GET, or 0 if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@contextmanager
def backend() -> Iterator[str]:
    """Run a backend that answers every GET; give its URL."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing: the steps say what was asked."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def run(*command: str | Path, at: Path, expected: int = 0) -> str:
    """Return what a command printed; StepFailed, with all of that, if it ends with another exit code."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=at, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != expected:
        raise StepFailed(f"{' '.join(words)}: exit code {done.returncode}, not {expected}; it printed:\n{done.stdout}")
    return done.stdout


def environment() -> dict[str, str]:
    """Return this process's environment without what a checkout or its operator put there."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "PYTHON"))}


def expect(what: str, expected: object, actual: object) -> None:
    if expected != actual:
        raise StepFailed(f"{what}: expected {expected}, got {actual}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what is done, and its seconds when it is."""
    print(f"package: {what} ...", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
