"""The image of deploy/container, without a container engine: the steps of its Dockerfile, run in an empty root."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from gateway.adapters.redis import keys
from tests.support.client import ask
from tests.support.processes import Process, free_port, is_listening, wait_until
from tests.support.programs import find_optional

ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "deploy" / "container"
MAXIMUM_BYTES = 150 * 1024 * 1024
OUTSIDER = ["--userspec=10001:10001"]


def run(*command: str | Path, **how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), env={**os.environ, **how}, capture_output=True, text=True, check=True
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root that the last stage of the Dockerfile is, made by this machine's Python."""
    find_optional("strip")
    if os.geteuid() != 0:
        pytest.skip("needs root, for chroot")
    folder = tmp_path_factory.mktemp("image")
    locked = run(sys.executable, CONTAINER / "select_locked.py", ROOT / "pyproject.toml", ROOT / "requirements.lock")
    (folder / "runtime.lock").write_text(locked.stdout)
    options = ("--no-compile", "--no-deps", "--require-hashes", "--only-binary", ":all:")
    try:
        run(
            *(sys.executable, "-m", "pip", "install", "--quiet", "--target", folder / "site"),
            *(*options, "-r", folder / "runtime.lock"),
        )
    except subprocess.CalledProcessError as error:
        if "Temporary failure" in error.stderr or "Connection" in error.stderr:
            pytest.skip("needs a package index")
        raise
    shutil.copytree(ROOT / "gateway", folder / "site" / "gateway")
    python = Path(sys.base_prefix) / "bin" / "python3"
    run("sh", CONTAINER / "assemble_root.sh", python, folder / "site", folder / "root", SOURCE_DATE_EPOCH="0")
    return folder / "root"


def test_the_image_is_small_and_has_no_shell(image: Path) -> None:
    """At most 150 MB, and no program but Python."""
    files = [file for file in image.rglob("*") if file.is_file() and not file.is_symlink()]
    assert MAXIMUM_BYTES > sum(file.stat().st_size for file in files)
    programs = [file for file in files if file.parent.name in ("bin", "sbin")]
    assert [image / "usr/local/bin/python3"] == programs
    assert not any(file.stat().st_mode & 0o6000 for file in files)


def test_the_gateway_serves_from_the_image_as_nobody(image: Path, redis_url: str, tmp_path: Path) -> None:
    """Two workers, as a user who may write nothing there; the image's health check says if the gateway is up."""
    policies = image / "etc/gateway/policies"
    shutil.copy(ROOT / "policies" / "example.toml", policies)
    port = free_port()
    command = ["chroot", *OUTSIDER, str(image), "/usr/local/bin/python3", "-m", "gateway", "serve"]
    environment = {
        **dict.fromkeys(("PYTHONPYCACHEPREFIX",), ""),
        "PYTHONDONTWRITEBYTECODE": "1",
        "GATEWAY_REDIS_URL": redis_url,
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_ADMIN_LISTEN": "",
        "GATEWAY_POLICIES": "/etc/gateway/policies",
        "GATEWAY_WORKERS": "2",
    }
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.marker(), "1")
    server = Process(command, tmp_path / "gateway.log", environment)
    try:
        wait_until(lambda: "ready on" in server.text() or server.popen.poll() is not None, "the gateway is ready", 60)
        assert 200 == ask(port, "GET", "/-/ready").status, server.text()
        assert 0 == check_health(image, port)
    finally:
        assert 0 == server.stop(), server.text()
    wait_until(lambda: not is_listening(port), "the gateway has stopped")
    assert 0 != check_health(image, port)
    written = [file for file in image.rglob("*") if not file.is_symlink() and file.stat().st_uid == 10001]
    assert [] == written


def check_health(image: Path, port: int) -> int:
    """The exit code of the Dockerfile's own health check, at another port."""
    text = (CONTAINER / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"^    CMD (\[.*\])$", text, re.MULTILINE)
    assert found is not None
    command: list[str] = json.loads(found[1].replace(":8080", f":{port}"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPYCACHEPREFIX"}
    chrooted = ["chroot", *OUTSIDER, str(image), *command]
    return subprocess.run(chrooted, env=environment, capture_output=True, check=False).returncode


def test_the_lock_gives_all_that_runs_and_nothing_of_the_tests() -> None:
    """Each package has its version and hashes."""
    shown = run(sys.executable, CONTAINER / "select_locked.py", ROOT / "pyproject.toml", ROOT / "requirements.lock")
    chosen = re.findall(r"^([a-z0-9-]+)==", shown.stdout, re.MULTILINE)
    assert {"litestar", "redis", "hiredis", "cryptography", "uvloop"} <= set(chosen)
    assert not {"pytest", "mypy", "playwright", "fakeredis", "mkdocs"} & set(chosen)
    assert 2 == chosen.count("deprecated")  # of two Pythons
    assert len(chosen) <= shown.stdout.count("--hash=sha256:")
