"""Install what requirements.lock pins, then this checkout, into a virtual environment, and say how far it is.

    python3 .ci/install.py .venv              # make install
    .venv/bin/python .ci/install.py .venv proxies    # the proxies of the extra "proxies", about 100 MB, by themselves

Only the standard library: nothing else is there yet. Older Pythons run the first lines, to say that they are too old.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - who has an older one shall read this, not a traceback
    sys.exit(
        "install: the gateway needs Python 3.11 or newer, and this is {}.{}; "
        "name another, for example: make install PYTHON=python3.13".format(*sys.version_info)
    )

import tomllib

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
BY_ITSELF = "proxies"
"""The extra that only some tests need, and that is as large as all else."""
STEP = 20
"""Packages between two lines of progress."""


def main() -> None:
    folder = Path(sys.argv[1])
    pip = folder / "bin" / "pip"
    if sys.argv[2:] == [BY_ITSELF]:
        install_locked(pip, read_lock(only=names_of_extra(BY_ITSELF)))
        return
    started = time.monotonic()
    print(f"install: Python {sys.version.split()[0]} into {folder}", flush=True)
    run(sys.executable, "-m", "venv", folder)
    install_locked(pip, read_lock(without=names_of_extra(BY_ITSELF)))
    print("install: the gateway itself, from this folder", flush=True)
    # By the hatchling that the lock pins, not by the newest one.
    run(pip, "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--editable", ROOT)
    print(f"install: done in {time.monotonic() - started:.0f} s", flush=True)


def names_of_extra(extra: str) -> set[str]:
    """Return the normalized names of the packages that an extra of pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = (re.match(r"[\w.-]+", requirement) for requirement in project["optional-dependencies"][extra])
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in found if name}


def read_lock(only: "set[str] | None" = None, without: "set[str] | None" = None) -> "list[str]":
    """Return the entries of the lock, each with its hashes."""
    entries = re.findall(r"^[a-z0-9].*\n(?:[ #].*\n)*", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    return [
        entry
        for entry in entries
        if (only is None or entry.split("==")[0] in only) and (without is None or entry.split("==")[0] not in without)
    ]


def install_locked(pip: Path, entries: "list[str]") -> None:
    """Install the entries with a line of progress for every STEP of them. Ends the process if pip fails."""
    with tempfile.NamedTemporaryFile("w", suffix=".lock") as chosen:
        chosen.write("".join(entries))
        chosen.flush()
        # Modules are compiled when they are first imported: to compile all of them takes half of the time.
        command = [pip, "install", "--no-compile", "--no-deps", "--require-hashes", "--requirement", chosen.name]
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
            said = follow(process, len(entries))
    if process.returncode:
        sys.exit(f"install: pip failed; its last lines:\n{said}")


def follow(process: "subprocess.Popen[str]", total: int) -> str:
    """Print how far pip is; return the last that it said."""
    last: list[str] = []
    done = 0
    for line in process.stdout or ():
        last = [*last[-4:], line]
        if line.startswith(("Collecting", "Ignoring", "Requirement already satisfied")):
            done += 1
            if done % STEP == 0 or done == total:
                print(f"install: {done} of {total} packages of {LOCK.name}", flush=True)
        elif line.startswith("Installing collected packages"):
            print("install: unpacking them", flush=True)
    return "".join(last)


def run(*command: "str | Path") -> None:
    """Run a command that says by itself what is wrong. Ends the process if it fails."""
    returned = subprocess.run(list(map(str, command)), check=False).returncode
    if returned:
        sys.exit(f"install: failed ({returned}): {' '.join(map(str, command))}")


if __name__ == "__main__":
    main()
