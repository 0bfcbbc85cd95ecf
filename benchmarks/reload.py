"""What a changed policy file costs: how long the reload takes, and how late the event loop is meanwhile.

python -m benchmarks.reload --files 50 --rules 1000
"""

import argparse
import asyncio
import gc
import tempfile
import time
from pathlib import Path

import uvloop

from gateway.adapters.policy_files import PolicyFiles

TICK_SECONDS = 0.001
CHANGES = 5


def main() -> None:
    """Print a line for each of some changes of one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--rules", type=int, default=1000, help="of each file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.files):
            (Path(folder) / f"p{number}.toml").write_text(build_policy(number, options.rules), encoding="utf-8")
        uvloop.run(measure(Path(folder)))


def build_policy(number: int, rules: int) -> str:
    """Return a policy with so many rules of a host of its own."""
    head = f'name = "p{number}"\nhosts = ["h{number}.example"]\nupstream = "http://127.0.0.1:9001"\n'
    tables = '[token]\nprefixes = ["exm_"]\n[scopes]\nread = "Read"\n[quotas]\nminute = "600/minute"\n'
    rule = '[[rules]]\nmatch = "GET /api/r{}/{{project}}"\nproject = "{{project}}"\nscopes = ["read"]\n'
    return head + tables + "".join(rule.format(index) for index in range(rules))


async def measure(folder: Path) -> None:
    """Load all, then change one file again and again."""
    begun = time.perf_counter()
    files = PolicyFiles(folder, {})
    print(f"first load: {time.perf_counter() - begun:.2f} s")
    gc.freeze()  # as gateway/app.py
    changed = folder / "p0.toml"
    for _ in range(CHANGES):
        watching = asyncio.create_task(watch_loop())
        with changed.open("a", encoding="utf-8") as file:
            file.write("# changed\n")
        begun = time.perf_counter()
        await files.reload_beside()
        seconds = time.perf_counter() - begun
        watching.cancel()
        late_seconds = await watching
        print(f"one file changed: {seconds:.3f} s; the event loop was late by {late_seconds * 1000:.1f} ms at most")


async def watch_loop() -> float:
    """Return by how much the loop was late at most, when cancelled."""
    worst = 0.0
    try:
        while True:
            due = time.perf_counter() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            worst = max(worst, time.perf_counter() - due)
    except asyncio.CancelledError:
        return worst


if __name__ == "__main__":
    main()
