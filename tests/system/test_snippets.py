"""The lines that the developer page offers, run by a shell: what is pulled, what is kept, what a refusal leaves."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.core.pages.export_urls import Snippet, build_snippets, variable_name
from gateway.core.policies.loading import load_policies
from tests.support.client import ask
from tests.support.processes import wait_until
from tests.support.programs import find_program
from tests.support.shared_gateway import SharedGateway
from tests.system.conftest import Share, mint

PATH = "/api/v1/projects/website/translations/export"
FILES = ["export.json", "export.json.etag"]


@pytest.fixture
def gateway(share: Share) -> Iterator[SharedGateway]:
    """A running gateway in front of the example backend."""
    yield share()


@pytest.fixture
def snippets(gateway: SharedGateway, policies: Path) -> dict[str, Snippet]:
    """Those of the system policy, for an export of the running gateway."""
    policy = load_policies({"system.toml": (policies / "system.toml").read_text()}).policies["system"]
    url = f"http://127.0.0.1:{gateway.port}{PATH}"
    return {one.key: one for one in build_snippets(policy, url, "json")}


def github(text: str) -> str:
    """The shell part of a workflow."""
    return str(_steps(text)[-1]["run"])


def gitlab(text: str) -> str:
    """The shell part of a job."""
    return str(yaml.safe_load(text)["pull"]["script"][0])


def _steps(text: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = yaml.safe_load(text)["jobs"]["pull"]["steps"]
    return steps


SHELLS: dict[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    "curl": (str, ("sh",)),
    "github": (github, ("bash", "-e")),
    "gitlab": (gitlab, ("bash", "-eo", "pipefail")),
}


@pytest.mark.parametrize("key", SHELLS)
def test_what_has_not_changed_is_not_downloaded_again(
    gateway: SharedGateway, redis_url: str, policies: Path, tmp_path: Path, snippets: dict[str, Snippet], key: str
) -> None:
    """200, then 304 and an unchanged file; a refusal leaves both files. Without the file it is 200 again."""
    find_program("curl")
    good, bad = mint(redis_url, policies), {"token": "sys_" + "0" * 40}
    read, shell = SHELLS[key]
    build = tmp_path / "build"
    build.mkdir()

    def run(token: dict[str, str]) -> int:
        environment = {**os.environ, variable_name("system"): token["token"]}
        command = [*shell, "-c", read(snippets[key].text)]
        return subprocess.run(command, cwd=build, env=environment, capture_output=True, check=False).returncode

    def state() -> tuple[bytes, bytes, int]:
        export, tag = (build / name for name in FILES)
        return export.read_bytes(), tag.read_bytes(), export.stat().st_mtime_ns

    assert 0 == run(good)
    assert sorted(FILES) == sorted(file.name for file in build.iterdir())
    content = ask(gateway.port, "GET", PATH, token=good["token"]).content
    first = state()
    assert content == first[0]
    assert first[1].startswith(b'W/"')
    assert 0 == run(good)
    assert first == state()
    assert 0 != run(bad)
    assert first == state()
    assert 0 == run(good)
    assert first == state()
    (build / "export.json").unlink()
    assert 0 == run(good)
    assert first[:2] == state()[:2]
    pulled = [200, 200, 304, 304, 200]
    wait_until(lambda: len(gateway.records_of(good["id"])) == len(pulled), "all pulls are in the access log")
    assert pulled == [record["status"] for record in gateway.records_of(good["id"])]


def test_the_pipelines_keep_file_and_tag(snippets: dict[str, Snippet]) -> None:
    """In their cache, both or none, so that the next build gets a 304."""
    cached = next(step for step in _steps(snippets["github"].text) if "cache" in step.get("uses", ""))
    assert FILES == str(cached["with"]["path"]).split()
    assert FILES == yaml.safe_load(snippets["gitlab"].text)["pull"]["cache"]["paths"]
