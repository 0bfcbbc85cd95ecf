"""What reads exports in builds: packages from npm, fetched once, and asked by scripts of tests/data/consumers."""

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parents[1] / "data" / "consumers"
MAXIMUM_SECONDS = 300

Read = Callable[..., dict[str, Any]]


def fetch_consumers(cache: Path) -> Read | str:
    """What asks the consumers, which are kept in a folder of `cache`; or the reason why there are none."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "needs node and npm"
    digest = hashlib.sha256((SOURCES / "package.json").read_bytes()).hexdigest()[:16]
    folder = cache / digest
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache) as unfinished:
            made = Path(unfinished) / "consumers"
            made.mkdir()
            shutil.copy(SOURCES / "package.json", made)
            quietly = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--silent")
            command = [npm, "install", "--fetch-retries=1", *quietly]
            try:
                subprocess.run(command, cwd=made, timeout=MAXIMUM_SECONDS, capture_output=True, check=True)
            except subprocess.SubprocessError:
                return "needs a registry of npm packages"
            with suppress(OSError):  # another process of these tests was faster
                made.rename(folder)

    def read(script: str = "read.mjs", **exports: Any) -> dict[str, Any]:
        own = folder / hashlib.sha256((SOURCES / script).read_bytes()).hexdigest()[:16]
        own.with_suffix(".mjs").write_bytes((SOURCES / script).read_bytes())  # beside the packages that it imports
        given = json.dumps(exports).encode()
        done = subprocess.run(
            [node, own.with_suffix(".mjs").name],
            cwd=folder,
            input=given,
            timeout=MAXIMUM_SECONDS,
            capture_output=True,
            check=False,
        )
        assert 0 == done.returncode, done.stderr.decode()
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return read
