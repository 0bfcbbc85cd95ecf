"""The lines that the developer page and the recipes offer, run: what is pulled, what is kept, what a refusal leaves."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # of schemathesis

from gateway.core.pages.export_urls import Snippet, build_snippets, variable_name
from gateway.core.policies.loading import load_policies
from tests.support.client import ask
from tests.support.documents import ROOT, blocks, page
from tests.support.processes import wait_until
from tests.support.programs import find_optional, find_program
from tests.support.raw import RawBackend, read_head
from tests.support.shared_gateway import SharedGateway
from tests.system.conftest import Share, mint
from tests.system.test_cache import reply

PATH = "/api/v1/projects/website/translations/export"
EXPORT = "exports/export.json"
FILES = [EXPORT, f"{EXPORT}.etag"]
TOLD = "https://api.example.com/api/v1/projects/website/translations/export"
"""The URL that documents tell, and the variable that their tokens are in."""
TOLD_VARIABLE = "EXAMPLE_API_TOKEN"
Line = tuple[list[str], dict[str, str]]
"""A command, and variables that it is run with."""


def snippets_of(policies: Path, url: str) -> dict[str, Snippet]:
    policy = load_policies({"system.toml": (policies / "system.toml").read_text()}).policies["system"]
    return {one.key: one for one in build_snippets(policy, url, "json")}


def recipe(heading: str, language: str, guide: str = "guide/ci-recipes.md") -> str:
    """The block of a recipe of the guide."""
    text = page(guide).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (block,) = blocks(text, language)
    return block


def recipe_yaml(heading: str) -> Any:
    return yaml.safe_load(recipe(heading, "yaml"))


def github_action() -> Line:
    """The step of the action, with the inputs that the recipe gives it."""
    action = yaml.safe_load((ROOT / "deploy/github-action/action.yml").read_text())
    inputs = {name: one.get("default", "") for name, one in action["inputs"].items()}
    inputs |= recipe_yaml("GitHub Actions")["jobs"]["pull"]["steps"][0]["with"]
    step = action["runs"]["steps"][-1]
    given = {name: inputs[value.split("inputs.")[1].split(" ")[0]] for name, value in step["env"].items()}
    return ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], {**given, "GITHUB_OUTPUT": "output"}


def gitlab_template() -> Line:
    """The job that extends the template, as the runner runs it."""
    job = yaml.safe_load((ROOT / "deploy/gitlab/pull.gitlab-ci.yml").read_text())[".gateway-pull"]
    variables = job["variables"] | recipe_yaml("GitLab CI")["pull"]["variables"]
    return ["sh", "-e", "-c", "\n".join(job["script"])], variables


def shell(*commands: str) -> Line:
    return ["sh", "-e", "-c", "\n".join(commands)], {}


def jenkins() -> Line:
    (command,) = re.findall(r"\bsh '([^']+)'", recipe("Jenkins", "groovy"))
    return shell(command)


def circleci() -> Line:
    steps = recipe_yaml("CircleCI")["jobs"]["pull"]["steps"]
    return shell(*(step["run"] for step in steps if "run" in step))


def docker() -> Line:
    """The step of the build, in which a secret is a variable and a cache a folder."""
    (command,) = re.findall(r"^RUN (.+)$", recipe("Docker", "dockerfile"), re.MULTILINE)
    return shell(re.sub(r"--mount=\S+ ", "", command))


def gradle() -> Line:
    (words,) = re.findall(r"commandLine\((.+)\)", recipe("Gradle", "kotlin"))
    return json.loads(f"[{words}]"), {}


RECIPES: dict[str, Callable[[], Line]] = {
    "The script": lambda: shell("sh pull-export.sh"),
    "GitHub Actions": github_action,
    "GitLab CI": gitlab_template,
    "CircleCI": circleci,
    "Jenkins": jenkins,
    "Azure Pipelines": lambda: shell(recipe_yaml("Azure Pipelines")["steps"][1]["script"]),
    "Bitbucket Pipelines": lambda: shell(
        *recipe_yaml("Bitbucket Pipelines")["pipelines"]["custom"]["pull"][0]["step"]["script"]
    ),
    "Buildkite": lambda: shell(recipe_yaml("Buildkite")["steps"][0]["command"]),
    "Make": lambda: ([find_program("make"), EXPORT], {}),
    "Docker": docker,
    "npm": lambda: ([find_optional("npm"), "run", "--silent", "build"], {"NO_UPDATE_NOTIFIER": "1"}),
    "Gradle": gradle,
}
PAGE: dict[str, Callable[[str], Line]] = {
    "curl": lambda text: (["sh", "-c", text], {}),
    "github": lambda text: (["bash", "-e", "-c", str(_steps(text)[-1]["run"])], {}),
    "gitlab": lambda text: (["bash", "-eo", "pipefail", "-c", yaml.safe_load(text)["pull"]["script"][0]], {}),
}


def _steps(text: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = yaml.safe_load(text)["jobs"]["pull"]["steps"]
    return steps


class Build:
    """The folder of a build, which runs one recipe again and again."""

    def __init__(self, folder: Path, key: str, policies: Path, url: str) -> None:
        self.folder = folder / "build"
        self.folder.mkdir()
        find_program("curl")
        self._url = url
        if key in PAGE:
            self.variable = variable_name("system")
            self._line = PAGE[key](snippets_of(policies, url)[key].text)
        else:
            self.variable = TOLD_VARIABLE
            self._line = RECIPES[key]()
            for name, text in (
                ("pull-export.sh", recipe("The script", "sh")),
                ("Makefile", recipe("Make", "make")),
                ("package.json", recipe("npm", "json")),
            ):
                (self.folder / name).write_text(text.replace(TOLD, url))

    def run(self, token: str) -> subprocess.CompletedProcess[str]:
        words, given = self._line
        secret = "${{ secrets." + TOLD_VARIABLE + " }}"
        values = {name: token if value == secret else value.replace(TOLD, self._url) for name, value in given.items()}
        environment = {**os.environ, self.variable: token, **values}
        return subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def state(self) -> tuple[bytes, bytes, int, int]:
        export, tag = (self.folder / name for name in FILES)
        return export.read_bytes(), tag.read_bytes(), export.stat().st_mtime_ns, export.stat().st_ino


@pytest.fixture
def gateway(share: Share) -> SharedGateway:
    """A running gateway in front of the example backend."""
    return share()


@pytest.mark.parametrize("key", [*PAGE, *RECIPES])
def test_what_has_not_changed_is_not_downloaded_again(
    gateway: SharedGateway, redis_url: str, policies: Path, tmp_path: Path, key: str
) -> None:
    """200, then 304 and an unchanged file; a refusal leaves both files. Without the file it is 200 again."""
    build = Build(tmp_path, key, policies, f"http://127.0.0.1:{gateway.port}{PATH}")
    good, bad = mint(redis_url, policies), "sys_" + "0" * 40
    first_run = build.run(good["token"])
    assert 0 == first_run.returncode, first_run.stderr
    assert ["export.json", "export.json.etag"] == sorted(file.name for file in (build.folder / "exports").iterdir())
    content = ask(gateway.port, "GET", PATH, token=good["token"]).content
    first = build.state()
    assert content == first[0]
    assert first[1].startswith(b'W/"')
    assert 0 == build.run(good["token"]).returncode
    assert first == build.state()
    refused = build.run(bad)
    assert 0 != refused.returncode
    assert first == build.state()
    assert 0 == build.run(good["token"]).returncode
    assert first == build.state()
    (build.folder / EXPORT).unlink()
    assert 0 == build.run(good["token"]).returncode
    assert first[:2] == build.state()[:2]
    assert good["token"] not in first_run.stdout + first_run.stderr + refused.stdout + refused.stderr
    pulled = [200, 200, 304, 304, 200]
    wait_until(lambda: len(gateway.records_of(good["id"])) == len(pulled), "all pulls are in the access log")
    assert pulled == [record["status"] for record in gateway.records_of(good["id"])]


POLICY = """
name = "system"
upstream = "http://127.0.0.1:{backend}"
[token]
prefixes = ["sys_"]
[[rules]]
match = "* /**"
"""
RETRY_SECONDS = 2
"""Longer than curl waits by itself before its second attempt."""
DISTINCT = ["curl", "GitHub Actions", "GitLab CI"]
"""The texts of which all others are copies."""


def serve(policies: Path, backend: RawBackend) -> None:
    (policies / "system.toml").write_text(POLICY.format(backend=backend.port))


@pytest.mark.parametrize("key", DISTINCT)
def test_retry_after_is_obeyed(share: Share, redis_url: str, policies: Path, tmp_path: Path, key: str) -> None:
    """A 503 with Retry-After is asked again, and not earlier; the file is that of the good answer."""
    token, asked = mint(redis_url, policies), list[float]()

    def behave(connection: socket.socket) -> None:
        read_head(connection)
        asked.append(time.monotonic())
        busy = reply(b"busy", b"Retry-After: %d" % RETRY_SECONDS, status=b"503 Busy")
        connection.sendall(busy if len(asked) == 1 else reply(b"content", b'ETag: "1"'))

    with RawBackend(behave) as backend:
        serve(policies, backend)
        build = Build(tmp_path, key, policies, f"http://127.0.0.1:{share().port}/export")
        assert 0 == build.run(token["token"]).returncode
    assert asked[0] + RETRY_SECONDS <= asked[1]
    assert b"content" == (build.folder / EXPORT).read_bytes()


@pytest.mark.parametrize("key", DISTINCT)
@pytest.mark.parametrize(
    ("answer", "is_good"),
    [
        (reply(b"newer"), True),
        (reply(b"", b'ETag: "2"'), True),
        (reply(b"moved", b"Location: /", status=b"302 Found"), False),
        (reply(b"newer", b'ETag: "2"')[:-1], False),
        (reply(b"oops", b'ETag: "2"', status=b"404 Not Found"), False),
    ],
)
def test_a_tag_is_never_kept_without_its_file(
    share: Share, redis_url: str, policies: Path, tmp_path: Path, key: str, answer: bytes, is_good: bool
) -> None:
    """Of an answer without a tag there is none, and an answer that is no export or not whole changes nothing."""
    token, answers = mint(redis_url, policies), [answer, reply(b"first", b'ETag: "1"')]

    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answers.pop() if len(answers) > 1 else answer)

    with RawBackend(behave) as backend:
        serve(policies, backend)
        build = Build(tmp_path, key, policies, f"http://127.0.0.1:{share().port}/export")
        assert 0 == build.run(token["token"]).returncode
        first = build.state()
        assert is_good == (0 == build.run(token["token"]).returncode)
    content, tag, *_ = build.state()
    if not is_good:
        assert first == build.state()
    assert (content, tag.strip()) in {(b"first", b'"1"'), (b"newer", b""), (b"", b'"2"')}


def test_the_command_of_the_page_pulls(gateway: SharedGateway, redis_url: str, policies: Path, tmp_path: Path) -> None:
    """`gateway-pull` with the words that the page shows, which is `gateway pull`."""
    token = mint(redis_url, policies)
    text = snippets_of(policies, f"http://127.0.0.1:{gateway.port}{PATH}")["gateway"].text
    command = text.replace("gateway-pull", f"{sys.executable} -m gateway pull")
    environment = {**os.environ, variable_name("system"): token["token"]}
    for word in ("changed (200", "unchanged (304"):
        run = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert word in run.stdout, run.stderr


def test_the_pipelines_keep_file_and_tag(policies: Path) -> None:
    """In their cache, both or none, so that the next build gets a 304."""
    snippets = snippets_of(policies, "https://api.example.com/export")
    cached = next(step for step in _steps(snippets["github"].text) if "cache" in step.get("uses", ""))
    folders = [
        cached["with"]["path"],
        *yaml.safe_load(snippets["gitlab"].text)["pull"]["cache"]["paths"],
        *recipe_yaml("CircleCI")["jobs"]["pull"]["steps"][-1]["save_cache"]["paths"],
        recipe_yaml("Azure Pipelines")["steps"][0]["inputs"]["path"],
        recipe_yaml("Bitbucket Pipelines")["definitions"]["caches"]["export"],
        recipe_yaml("Buildkite")["steps"][0]["plugins"][0]["cache#v1.7.0"]["path"],
    ]
    assert {"exports"} == set(folders)
    action = yaml.safe_load((ROOT / "deploy/github-action/action.yml").read_text())["runs"]["steps"][0]
    assert ["${{ inputs.file }}", "${{ inputs.file }}.etag"] == action["with"]["path"].splitlines()
    template = yaml.safe_load((ROOT / "deploy/gitlab/pull.gitlab-ci.yml").read_text())[".gateway-pull"]
    assert ["$EXPORT_FILE", "$EXPORT_FILE.etag"] == template["cache"]["paths"]


WITHOUT_SECRETS = "guide/ci-without-secrets.md"
SCHEMAS: dict[str, tuple[str, Callable[[], str]]] = {
    "GitHub Actions": ("github-workflows", lambda: recipe("GitHub Actions", "yaml")),
    "the action": ("github-actions", (ROOT / "deploy/github-action/action.yml").read_text),
    "GitLab CI": ("gitlab-ci", lambda: recipe("GitLab CI", "yaml")),
    "the template": ("gitlab-ci", (ROOT / "deploy/gitlab/pull.gitlab-ci.yml").read_text),
    "CircleCI": ("circle-ci", lambda: recipe("CircleCI", "yaml")),
    "Azure Pipelines": ("azure-pipelines", lambda: recipe("Azure Pipelines", "yaml")),
    "Bitbucket Pipelines": ("bitbucket-pipelines", lambda: recipe("Bitbucket Pipelines", "yaml")),
    "Buildkite": ("buildkite", lambda: recipe("Buildkite", "yaml")),
    "GitHub without a secret": ("github-workflows", lambda: recipe("Pull on GitHub", "yaml", WITHOUT_SECRETS)),
    "GitLab without a secret": ("gitlab-ci", lambda: recipe("Pull on GitLab", "yaml", WITHOUT_SECRETS)),
}


def check_schema(file: Path, schema: str) -> subprocess.CompletedProcess[str]:
    """Check a file with a schema that its product publishes, in the copy that check-jsonschema has."""
    words = ["check_jsonschema", "--builtin-schema", f"vendor.{schema}", "--regex-variant", "nonunicode", str(file)]
    if schema in ("azure-pipelines", "gitlab-ci"):
        words += ["--data-transform", schema]  # what these products do to a file before they look at it
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("key", SCHEMAS)
def test_files_are_what_their_products_take(tmp_path: Path, key: str) -> None:
    """By the published schema; a key that the product does not know is a mistake."""
    schema, read = SCHEMAS[key]
    file = tmp_path / "file.yml"
    file.write_text(read())
    checked = check_schema(file, schema)
    assert 0 == checked.returncode, checked.stdout


@pytest.mark.parametrize(("key", "schema"), [("github", "github-workflows"), ("gitlab", "gitlab-ci")])
def test_what_the_page_shows_is_what_the_product_takes(policies: Path, tmp_path: Path, key: str, schema: str) -> None:
    """By the published schema."""
    file = tmp_path / "file.yml"
    file.write_text(snippets_of(policies, "https://api.example.com/export?lang=*&status=a,b")[key].text)
    checked = check_schema(file, schema)
    assert 0 == checked.returncode, checked.stdout
    file.write_text(file.read_text().replace("script:", "scripts:").replace("runs-on:", "run-on:"))
    assert 0 != check_schema(file, schema).returncode


def test_a_build_sees_a_token_in_no_argument(
    gateway: SharedGateway, redis_url: str, policies: Path, tmp_path: Path
) -> None:
    """What `ps` shows of curl, told by a curl that writes down its arguments."""
    build = Build(tmp_path, "curl", policies, f"http://127.0.0.1:{gateway.port}{PATH}")
    token, real = mint(redis_url, policies)["token"], find_program("curl")
    (tmp_path / "bin").mkdir()
    curl = tmp_path / "bin" / "curl"
    curl.write_text(f'#!/bin/sh\ntr "\\0" " " < /proc/$$/cmdline > {tmp_path}/arguments\nexec {real} "$@"\n')
    curl.chmod(0o755)
    words, _ = PAGE["curl"](snippets_of(policies, build._url)["curl"].text)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, build.variable: token}
    subprocess.run(words, cwd=build.folder, env=environment, check=True)
    arguments = (tmp_path / "arguments").read_text()
    assert "--etag-compare" in arguments
    assert token not in arguments
