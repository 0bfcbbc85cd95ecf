"""The files of deploy/ are held to the code, and to the programs and schemas that read them."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml  # type: ignore[import-untyped]  # of schemathesis

from gateway.settings import PREFIX, Settings
from tests.support.programs import find_optional

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "token-gateway"
PLAIN = DEPLOY / "kubernetes" / "gateway.yaml"
HEADER = """# What `helm template gateway deploy/helm/token-gateway` renders. It needs a Secret first:
#   kubectl create secret generic gateway --from-literal=GATEWAY_REDIS_URL=...
"""
KINDS = {
    "ConfigMap",
    "Deployment",
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Service",
    "ServiceAccount",
}
MAXIMUM_EXPOSURE = 2.0


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)


def manifests() -> dict[str, Any]:
    """The plain manifests, by their kinds."""
    return {one["kind"]: one for one in yaml.safe_load_all(PLAIN.read_text(encoding="utf-8"))}


def test_every_variable_is_a_setting() -> None:
    """A variable that is none would prevent the start."""
    known = {PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)}
    folders = ("compose", "container", "helm", "kubernetes", "systemd")
    files = [file for folder in folders for file in (DEPLOY / folder).rglob("*") if file.is_file()]
    named = {name for file in files for name in re.findall(r"\bGATEWAY_[A-Z_]+[A-Z]\b", file.read_text())}
    assert {"GATEWAY_REDIS_URL", "GATEWAY_POLICIES", "GATEWAY_WORKERS"} <= named
    assert set() == named - known


def test_the_compose_file_is_valid_and_every_service_is_closed() -> None:
    """By the published schema; no service may gain rights, and those of the gateway have a read-only root."""
    file = DEPLOY / "compose" / "compose.yaml"
    checked = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", file)
    assert 0 == checked.returncode, checked.stdout
    services = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
    assert {"gateway", "init", "redis", "backend", "caddy"} == set(services)
    for name, service in services.items():
        assert ["ALL"] == service["cap_drop"], name
        assert ["no-new-privileges:true"] == service["security_opt"], name
    assert ["caddy"] == [name for name, service in services.items() if not service.get("read_only")]
    assert ["caddy"] == [name for name, service in services.items() if "ports" in service]
    assert "--appendonly yes" in services["redis"]["command"][2]
    assert "noeviction" in services["redis"]["command"][2]


def test_caddy_takes_its_files() -> None:
    for file in (DEPLOY / "compose" / "Caddyfile", DEPLOY / "fronting" / "Caddyfile"):
        adapted = run(find_optional("caddy"), "adapt", "--adapter", "caddyfile", "--config", file)
        assert 0 == adapted.returncode, adapted.stderr


def test_the_unit_is_closed() -> None:
    """systemd rates it at most 2.0 of 10."""
    unit = DEPLOY / "systemd" / "gateway.service"
    shown = run(find_optional("systemd-analyze"), "security", "--offline=true", "--no-pager", unit)
    exposure = re.search(r"exposure level for gateway.service: ([0-9.]+)", shown.stdout)
    assert exposure is not None, shown.stdout + shown.stderr
    assert float(exposure[1]) <= MAXIMUM_EXPOSURE


def test_the_manifests_are_complete_and_closed() -> None:
    """Probes, a budget for disruptions, scaling, a network policy; no secret is written into them."""
    found = manifests()
    assert KINDS == set(found)
    pod = found["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
    assert {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}} == (
        container["securityContext"]
    )
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert not pod["automountServiceAccountToken"]
    assert [{"secretRef": {"name": "gateway"}}] == container["envFrom"]
    values = {one["name"]: one["value"] for one in container["env"]}
    assert set(values) & {"GATEWAY_REDIS_URL", "GATEWAY_TOKEN_PEPPER", "GATEWAY_SENTINEL_PASSWORD"} == set()
    stop = next(field.default for field in msgspec.structs.fields(Settings) if field.name == "stop_timeout")
    assert isinstance(stop, int)
    assert pod["terminationGracePeriodSeconds"] > stop


def test_the_manifests_follow_the_published_schemas(tmp_path: Path) -> None:
    """Every field is known to Kubernetes, and of its type."""
    checked = run(find_optional("kubernetes-validate"), "--strict", PLAIN)
    assert 0 == checked.returncode, checked.stdout + checked.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(PLAIN.read_text(encoding="utf-8").replace("livenessProbe:", "livenesProbe:"))
    assert 0 != run(find_optional("kubernetes-validate"), "--strict", wrong).returncode


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--set", "autoscaling.enabled=false,networkPolicy.enabled=false"),
        ("--set", "autoscaling.requestsPerSecond=5000,settings.GATEWAY_MAX_REQUESTS=500"),
    ],
)
def test_the_chart_renders_the_manifests(options: tuple[str, ...], tmp_path: Path) -> None:
    """By default these very manifests; with other values, valid ones."""
    helm = find_optional("helm")
    assert 0 == run(helm, "lint", "--strict", CHART, *options).returncode
    rendered = run(helm, "template", "gateway", CHART, *options)
    assert 0 == rendered.returncode, rendered.stderr
    if not options:
        assert HEADER + rendered.stdout == PLAIN.read_text(encoding="utf-8")
    file = tmp_path / "rendered.yaml"
    file.write_text(rendered.stdout)
    checked = run(find_optional("kubernetes-validate"), "--strict", file)
    assert 0 == checked.returncode, checked.stdout + checked.stderr
