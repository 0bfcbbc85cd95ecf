"""Print the part of requirements.lock that the gateway needs at run time, with versions and hashes.

    python3 deploy/container/select_locked.py pyproject.toml requirements.lock [PACKAGE ...] > runtime.lock

The lock also has what tests and documentation need. Its comments (`# via`) say which package needs which. Only the
standard library is used: nothing else is in the image yet.
"""

import re
import sys
import tomllib
from pathlib import Path

ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==[^\n]*\n(?:[ \t]+[^\n]*\n)*", re.MULTILINE)
PARENT = re.compile(r"^\s+#\s+(?:via\s+)?([A-Za-z0-9._-]+)\s*$", re.MULTILINE)


def main() -> None:
    """Print the entries."""
    project, lock = (Path(name).read_text(encoding="utf-8") for name in sys.argv[1:3])
    needed = tomllib.loads(project)["project"]["dependencies"]
    print("".join(select([*needed, *sys.argv[3:]], lock)), end="")


def select(dependencies: list[str], lock: str) -> list[str]:
    """Return the entries of these dependencies and of all that they need. Raise KeyError for one that is not locked."""
    entries = [(match[1], match[0]) for match in ENTRY.finditer(lock)]  # a package may have several, by Pythons
    parents = [(name, set(PARENT.findall(entry))) for name, entry in entries]
    chosen = {normal_name(dependency) for dependency in dependencies}
    if missing := chosen - {name for name, _ in entries}:
        raise KeyError(f"not in the lock: {', '.join(sorted(missing))}")
    while more := {name for name, above in parents if above & chosen} - chosen:
        chosen |= more
    return [entry for name, entry in entries if name in chosen]


def normal_name(dependency: str) -> str:
    """Return the name of a dependency as the lock has it (PEP 503)."""
    match = re.match(r"[A-Za-z0-9._-]+", dependency)
    if match is None:
        raise KeyError(dependency)
    return re.sub(r"[-_.]+", "-", match[0]).lower()


if __name__ == "__main__":
    main()
