"""What the gateway is compared with, each a server that does the gateway's whole job, written by hand for this.

All peers ask the same Redis by the same script (admit.lua), and know the same tokens. One that needs what is not
installed is left out, and named.
"""

import hashlib
import secrets
import shutil
import subprocess
from pathlib import Path

import msgspec
import redis

from benchmarks.stage import ALIKE, TOKENS, UVICORN, Served, Stage
from tests.support.processes import free_port

PEERS = Path(__file__).parent
NODE = PEERS / "node"
MODULES = Path("/etc/nginx/modules-enabled")
"""Where Debian lists the modules that its nginx loads."""
LUA_MODULES = ("*mod-http-ndk.conf", "*mod-http-lua.conf")
FAR = 2**40
DAY_SECONDS = 86_400
PLANS = (("many", 10**9, 60), ("small", 1, DAY_SECONDS), ("revoked", 10**9, 60), ("unknown", 0, 0))
"""Name, limit and window in seconds; nobody has the unknown ones."""


class Tokens(msgspec.Struct, frozen=True):
    """Files of tokens that all peers know; `unknown` they do not."""

    many: str
    small: str
    unknown: str
    revoked: str


class NginxLua(msgspec.Struct, frozen=True):
    """The ports of one nginx: with an access log, without one, and with an access log and TLS."""

    pid: int
    logged: Served
    unlogged: Served
    secure: Served


class Front(msgspec.Struct, frozen=True):
    """The ports of one nginx that checks nothing: in front of the backend, and with TLS in front of the gateway."""

    plain: Served
    secure: Served


def build_tokens(stage: Stage) -> Tokens:
    """Write the tokens of the peers into Redis."""
    files = {}
    with redis.Redis.from_url(stage.redis_url) as client, client.pipeline(transaction=False) as pipe:
        for plan, limit, window in PLANS:
            texts = [f"peer_{secrets.token_hex(16)}" for _ in range(TOKENS)]
            files[plan] = stage.write_tokens(f"peer-{plan}", texts)
            digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts if limit]
            for digest in digests:
                record = {"owner": "bench", "scopes": "read", "expires_at": FAR, "limit": limit, "window": window}
                pipe.hset(f"peer:token:{digest}", mapping=record)
            if plan == "revoked":
                pipe.sadd("peer:revoked", *digests)
        pipe.execute()
    return Tokens(**files)


def serve_nginx(stage: Stage) -> NginxLua | None:
    """Run nginx + Lua; None if it is not installed."""
    executable, modules = shutil.which("nginx"), [one for kind in LUA_MODULES for one in MODULES.glob(kind)]
    if executable is None or len(modules) < len(LUA_MODULES):
        needs = "on Debian: apt-get install libnginx-mod-http-lua lua-nginx-redis lua-nginx-string"
        stage.missing.append(f"nginx + Lua: the module of nginx is not installed ({needs})")
        return None
    ports = {"LOGGED": free_port(), "UNLOGGED": free_port(), "SECURE": free_port()}
    stage.logs.append(stage.folder / "nginx.access.log")
    words = {
        **{name: str(port) for name, port in ports.items()},
        "MODULES": "\n".join(f"include {one};" for one in modules),
        "PEERS": str(PEERS),
        "BACKEND": str(stage.backend),
        "REDIS": str(stage.redis.port),
    }
    pid = run_nginx(stage, executable, "nginx", ports["LOGGED"], words)
    return NginxLua(pid, *(Served(port, pid) for port in ports.values()))


def serve_front(stage: Stage, gateway: Served) -> Front | None:
    """Run an nginx that checks nothing; None if it is not installed."""
    executable = shutil.which("nginx")
    if executable is None:
        stage.missing.append("nginx without checks, and TLS in front of the gateway: nginx is not on the PATH")
        return None
    plain, secure = free_port(), free_port()
    words = {"BACKEND": str(stage.backend), "GATEWAY": str(gateway.port), "PLAIN": str(plain), "SECURE": str(secure)}
    pid = run_nginx(stage, executable, "front", plain, words)
    return Front(Served(plain, pid), Served(secure, pid))


def run_nginx(stage: Stage, executable: str, name: str, port: int, words: dict[str, str]) -> int:
    """Run nginx with the configuration of this name; return its process id."""
    make_certificate(stage.folder)
    for file in (f"{name}.conf", "locations.conf"):
        (stage.folder / file).write_text(fill((PEERS / file).read_text(), {**words, "FOLDER": str(stage.folder)}))
    command = [executable, "-c", f"{stage.folder}/{name}.conf", "-e", f"{stage.folder}/{name}.err"]
    return stage.run(name, command, port)


def serve_node(stage: Stage) -> Served | None:
    """Run the server written in node; None if it is not installed."""
    executable = shutil.which("node")
    if executable is None or not (NODE / "node_modules").is_dir():
        stage.missing.append("node: it needs node, and npm install --prefix benchmarks/peers/node")
        return None
    port = free_port()
    environment = {
        "PORT": str(port),
        "REDIS_PORT": str(stage.redis.port),
        "BACKEND": f"http://127.0.0.1:{stage.backend}",
        "LOG": str(stage.new_log("node")),
    }
    return Served(port, stage.run("node", [executable, str(NODE / "server.js")], port, environment=environment))


def serve_careful(stage: Stage) -> Served:
    """Run the Litestar app with its own middleware."""
    environment = {"PEER_REDIS_URL": stage.redis_url, "PEER_LOG": str(stage.new_log("careful"))}
    return stage.serve_app("careful", *UVICORN, *ALIKE, "benchmarks.peers.careful:app", environment=environment)


def serve_naive(stage: Stage) -> Served:
    """Run the naive stack."""
    addresses = {"NAIVE_REDIS_URL": stage.redis_url, "NAIVE_UPSTREAM": f"http://127.0.0.1:{stage.backend}"}
    return stage.serve_app("naive", *UVICORN, "benchmarks.peers.naive:app", environment=addresses)


def make_certificate(folder: Path) -> None:
    """Write a certificate for this run into the folder, once. Raise SystemExit without openssl."""
    openssl = shutil.which("openssl")
    if (folder / "tls.crt").exists():
        return
    if openssl is None:
        raise SystemExit("the rows with TLS need openssl on the PATH, which makes a certificate for this run")
    kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    files = ("-subj", "/CN=127.0.0.1", "-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt"))
    subprocess.run([openssl, "req", *kind, *files], check=True, capture_output=True, timeout=30)


def fill(template: str, words: dict[str, str]) -> str:
    """Return a configuration with its @WORDS@ filled in."""
    for word, value in words.items():
        template = template.replace(f"@{word}@", value)
    return template
