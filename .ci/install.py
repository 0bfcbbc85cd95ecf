"""Install what requirements.lock pins, then this checkout, into a virtual environment, and say how far it is.

    python3 .ci/install.py .venv              # make install
    .venv/bin/python .ci/install.py .venv proxies    # the proxies of the extra "proxies", about 100 MB, by themselves
    .venv/bin/python .ci/install.py .venv docs       # what `make docs` needs beside the rest
    .venv/bin/python .ci/install.py .venv plots      # what `make plots` needs beside the rest

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
BY_THEMSELVES = ("proxies", "docs", "plots")
"""Extras that few people need, and that are as large as all else: each is installed when it is asked for."""
STEP = 20
"""Packages between two lines of progress."""


def main() -> None:
    folder = Path(sys.argv[1])
    pip = folder / "bin" / "pip"
    alone = {extra: names_of_extra(extra) for extra in BY_THEMSELVES}
    if len(sys.argv) == 3 and sys.argv[2] in alone:
        install_locked(pip, [entry for name, entry in read_lock() if name in alone[sys.argv[2]]])
        return
    started = time.monotonic()
    print(f"install: Python {sys.version.split()[0]} into {folder}", flush=True)
    run(sys.executable, "-m", "venv", folder)
    left_out = set().union(*alone.values())
    install_locked(pip, [entry for name, entry in read_lock() if name not in left_out])
    print("install: the gateway itself, from this folder", flush=True)
    # By the hatchling that the lock pins, not by the newest one.
    run(pip, "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--editable", ROOT)
    print(f"install: done in {time.monotonic() - started:.0f} s", flush=True)


def names_of_extra(extra: str) -> "set[str]":
    """Return the normalized names of the packages that only this extra of pyproject.toml brings along.

    These are the packages that it asks for, and those that the lock has for no other reason than them.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = (re.match(r"[\w.-]+", requirement) for requirement in project["optional-dependencies"][extra])
    names = {re.sub(r"[-_.]+", "-", name[0]).lower() for name in found if name}
    reasons = [(name, read_reasons(entry)) for name, entry in read_lock()]
    while more := {name for name, wanted_by in reasons if wanted_by <= names} - names:
        names |= more
    return names


def read_lock() -> "list[tuple[str, str]]":
    """Return the entries of the lock, each behind the name of its package. A package may have several, by Pythons."""
    entries = re.findall(r"^[a-z0-9].*\n(?:[ #].*\n)*", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    return [(entry.split("==")[0], entry) for entry in entries]


def read_reasons(entry: str) -> "set[str]":
    """Return the names of what an entry of the lock is there for: packages, or this project."""
    return set(re.findall(r"^    # (?:via |  )(\S+)", entry, re.MULTILINE))


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
