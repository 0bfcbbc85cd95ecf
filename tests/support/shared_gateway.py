"""A gateway that many tests share: each has its own policies, and the gateway is told of them while it runs.

A gateway takes most of a second of CPU to start. A test that stops one, or changes its settings, starts its own; no
test may rely on an empty log, or on counters that start at zero.
"""

import itertools
from pathlib import Path

from tests.support.processes import GatewayServer, wait_until

NUMBERS = itertools.count(1)
MARKER = """
name = "{name}"
hosts = ["{name}.invalid"]
upstream = "http://127.0.0.1:9"
[token]
prefixes = ["{prefix}_"]
[[rules]]
match = "* /**"
"""


class SharedGateway(GatewayServer):
    """`gateway serve` for one test after the other. What it says to one of them, the next does not hear."""

    def __init__(
        self, folder: Path, redis_url: str, *options: str, workers: int = 1, environment: dict[str, str] | None = None
    ) -> None:
        self._policies = folder / "policies"
        self._policies.mkdir()
        self._workers = workers
        self._served: dict[str, str] | None = None
        self._texts_before = 0
        self._write_marker()
        own = ("--policies", str(self._policies), "--redis", redis_url, "--workers", str(workers))
        super().__init__(folder, *own, *options, environment=environment)

    def wait(self) -> "SharedGateway":
        """Return once every worker accepts requests: one that comes later would load the policies unheard."""
        super().wait()
        ready = "Application startup complete"
        wait_until(lambda: self._whole_text().count(ready) == self._workers, "all workers are up")
        return self

    def serve(self, policies: Path) -> "SharedGateway":
        """Return as soon as every worker serves the policy files of the folder, and no others."""
        self._texts_before = len(self._whole_text())
        texts = {file.name: file.read_text(encoding="utf-8") for file in policies.glob("*.toml")}
        if texts != self._served:
            self._served = texts
            for file in self._policies.glob("*.toml"):
                file.unlink()
            for name, text in texts.items():
                (self._policies / name).write_text(text, encoding="utf-8")
            marker = self._write_marker()
            wait_until(lambda: self._count_loads(marker) == self._workers, f"the policies are served: {self.text()}")
        return self

    def text(self) -> str:
        """Return what it has printed since `serve`."""
        return self._whole_text()[self._texts_before :]

    def _whole_text(self) -> str:
        return super().text()

    def _write_marker(self) -> str:
        """Write a policy that no request meets. The line that says that it is loaded has its name."""
        number = next(NUMBERS)
        name = f"marker-{number}"
        text = MARKER.format(name=name, prefix=f"marker{number}")
        (self._policies / "marker.toml").write_text(text, encoding="utf-8")
        return name

    def _count_loads(self, marker: str) -> int:
        loads = [line for line in self.text().splitlines() if "policies loaded from" in line]
        return sum(marker in line.replace(",", " ").split() for line in loads)
