"""Run the table of faults: real processes under load, one row after the other.

python -m tests.faults            # print the table
python -m tests.faults --write    # and write it into docs/operations/faults.md
python -m tests.faults --row demoted
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from tests.faults.load import CLIENTS, Load
from tests.faults.rows import LEFT_OUT, ROWS, Row
from tests.faults.stage import Stage
from tests.support.history import Call, Loss, check

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "faults.md"
BEGINNING, END = "<!-- made by `make faults` -->\n", "<!-- end -->"
BEFORE_SECONDS, AFTER_SECONDS = 0.5, 1.0
MOST_SECONDS = 25.0
"""For one row."""
ADDED_SECONDS, RECOVERY_SECONDS = 0.25, 0.5
"""The bars for the added wait and the recovery."""


class Result(msgspec.Struct, frozen=True):
    """What came of a row."""

    row: Row
    calls: int
    failed: int
    """Answers that were 503, or did not come."""
    violations: list[str]
    added: float
    """Seconds that the slowest answer took beyond the slowest before the fault."""
    recovery: float
    """Seconds from the end of the fault to the last answer that failed for it."""

    def count(self, beginning: str) -> int:
        return sum(one.startswith(beginning) for one in self.violations)

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrongly decided or lost."""
        return not self.violations

    def cells(self) -> str:
        counts = [self.count(kind) for kind in ("wrongly allowed", "wrong 401", "acknowledged", "limit")]
        waits = (round(self.added * 1000), round(self.recovery * 1000))
        return " | ".join(map(str, (self.row.name, self.calls, self.failed, *counts, *waits)))


async def run_row(stage: Stage, row: Row, number: int) -> Result:
    """Let a fault happen under load, and look at what clients were answered."""
    stage.prepare(f"row-{number}", row.options)
    load = Load(stage.backend_port, lambda: f"redis://127.0.0.1:{stage.relay.port}/0")
    revoked = [await load.create("open") for _ in range(8)]
    for plan in ("open", "open", "limited"):
        await load.create(plan)
    await load.revoke(revoked[0])
    if not row.keeps and "snapshot" not in row.name:
        load.history.promises = {"limited": load.history.promises["limited"]}
    load.port = stage.gateway.port
    working = [asyncio.ensure_future(load.run_client()) for _ in range(CLIENTS)]
    await asyncio.sleep(BEFORE_SECONDS)
    working.append(asyncio.ensure_future(load.run_operator(revoked[1:])))
    begun = load.now()
    await row.begin(stage)
    await asyncio.sleep(row.seconds)
    await row.end(stage)
    ended = load.now()
    load.history.add(Loss(ended, ended if row.keeps else begun - MOST_SECONDS, spares_kept=row.keeps))
    await asyncio.sleep(AFTER_SECONDS + (2.0 if row.seconds else 1.0))
    load.is_over = True
    await asyncio.wait(working)
    for task in working:
        task.result()
    await load.read_all()
    return measure(row, load, begun, ended)


def measure(row: Row, load: Load, begun: float, ended: float) -> Result:
    """Return the figures of a row."""
    calls = [event for event in load.history.events if isinstance(event, Call)]
    usual = max((call.ended - call.begun for call in calls if call.ended < begun), default=0.0)
    slowest = max((call.ended - call.begun for call in calls if call.ended >= begun), default=0.0)
    failed = [call.ended - ended for call in calls if call.status in (0, 503) and call.ended > ended]
    number = sum(call.status in (0, 503) for call in calls)
    added, recovery = max(0.0, slowest - usual), max(failed, default=0.0)
    return Result(row, len(calls), number, check(load.history), added, recovery)


async def run(named: str, folder: Path) -> list[Result]:
    """Run the rows whose name has a text."""
    stage, results = Stage(folder), list[Result]()
    await stage.open()
    try:
        rows = [row for row in ROWS if named in row.name]
        for number, row in enumerate(rows):
            if not number:
                stage.prepare("first", row.options)
                await asyncio.to_thread(stage.start_gateway)
            async with asyncio.timeout(MOST_SECONDS):
                result = await run_row(stage, row, number)
            results.append(result)
            print(f"| {result.cells()} |", flush=True)
            for violation in result.violations[:5]:
                print(f"  {violation}", flush=True)
    finally:
        await stage.close()
    return results


def build_table(results: list[Result], seconds: float) -> str:
    """Return the table as Markdown."""
    head = "what fails | requests | 503 or none | wrongly allowed | wrong 401 | changes lost | limits exceeded"
    lines = [
        f"| {head} | added wait, ms | recovery, ms |",
        "|---|" + "---:|" * 8,
        *(f"| {result.cells()} |" for result in results),
    ]
    day = time.strftime("%Y-%m-%d", time.gmtime())
    lines += ["", f"Made on {day}, in {seconds:.0f} s.", "", "Not in the table:", ""]
    lines += [f"- {name}: {why}." for name, why in LEFT_OUT.items()]
    return "\n".join(lines)


def main() -> None:
    """Run the table; the exit code is 1 if anything was wrongly decided or lost."""
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--row", default="")
    asked = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results = asyncio.run(run(asked.row, Path(folder)))
    table = build_table(results, time.monotonic() - begun)
    if asked.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGINNING)
        PAGE.write_text(f"{before}{BEGINNING}\n{table}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    sys.exit(0 if all(result.is_good for result in results) else 1)


if __name__ == "__main__":
    main()
