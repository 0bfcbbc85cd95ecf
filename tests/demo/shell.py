"""What a person does with the demo's commands: paste them into another terminal, one after the other."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PASTE_SECONDS = 60
COMMAND = re.compile(r" {3}\S")
"""Only a command begins in the fourth column (gateway/demo/transcript.py)."""
MARK = "--- pasted, exit code"


@dataclass(frozen=True)
class Pasted:
    """A command, its exit code, and what it printed on standard output."""

    command: str
    code: int
    output: str


def commands_in(text: str) -> list[str]:
    """The commands that the demo printed, each with the lines that continue it."""
    found: list[str] = []
    for line in text.splitlines():
        if found and found[-1].endswith("\\"):
            found[-1] += f"\n{line}"
        elif COMMAND.match(line):
            found.append(line)
    return found


def paste(commands: list[str], shell: str, folder: Path) -> list[Pasted]:
    """Each command's outcome in one shell, which is in a folder of its own and does not find `gateway` on its PATH."""
    path = [each for each in os.environ["PATH"].split(os.pathsep) if shutil.which("gateway", path=each) is None]
    lines = [f"{command}\nprintf '\\n%s %s\\n' '{MARK}' \"$?\"\n" for command in commands]
    ran = subprocess.run(
        [shell],
        input="".join(lines),
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.pathsep.join(path)},
        cwd=folder,
        timeout=PASTE_SECONDS,
    )
    sys.stderr.write(ran.stderr)  # curl's progress, and what pytest shows of a command that fails
    parts = re.split(rf"\n{MARK} (\d+)\n", ran.stdout)
    return [
        Pasted(command, int(exit_code), output)
        for command, output, exit_code in zip(commands, parts[:-1:2], parts[1::2], strict=True)
    ]
