"""Pictures of saved results: `python -m benchmarks.plots [FILE]` draws an SVG beside the file. It needs matplotlib.

Left: what a request costs, as the tables have it. Right: what the slowest percent of the clients waited. A bar is the
median of the rounds, its line reaches from the lowest to the highest.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gateway
from benchmarks.rows import BY_HAND, GATEWAY, GATEWAY_UNRECOGNISED, JOB, NGINX
from benchmarks.runs import FOLDER, Measured, Results, Sample, read

SERVERS = {
    GATEWAY: "#1b6ca8",
    NGINX: "#4a9d5b",
    "node": "#d9a441",
    BY_HAND: "#b4b4b4",
    GATEWAY_UNRECOGNISED: "#9cc3e0",
}
"""Those that are drawn, from top to bottom, each with its colour."""
BAR = 0.16
"""Height of a bar; a kind of request takes one."""
PANELS: tuple[tuple[str, Callable[[Sample], float]], ...] = (
    ("CPU of the server, microseconds a request", lambda one: one.cpu_us_per_request),
    ("99 of 100 requests are answered within, ms", lambda one: one.load.p99_us / 1000),
)


def draw(results: Results, file: Path) -> None:
    """Draw both panels into a file, whose suffix says the format. Raise SystemExit without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("plots need matplotlib: make plots installs it") from None
    matplotlib.use("svg" if file.suffix == ".svg" else "agg")
    matplotlib.rcParams.update({"svg.hashsalt": results.version, "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    rows = [row for row in results.rows if row.section == JOB and row.server in SERVERS]
    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(11, 6.5), sharey=True, layout="constrained")
    for panel, (title, value) in zip(panels, PANELS, strict=True):
        _draw_panel(panel, rows, value)
        panel.set_title(title, loc="left", fontsize=10)
    panels[0].invert_yaxis()  # both panels: they share it
    figure.suptitle(
        f"The whole job in Redis, 1,000 tokens, 32 connections, one worker, access log on: version {results.version}, "
        f"{results.date}",
        fontsize=10,
    )
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(SERVERS), frameon=False)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)


def _draw_panel(panel: Any, rows: Sequence[Measured], value: Callable[[Sample], float]) -> None:
    kinds = list(dict.fromkeys(row.kind for row in rows))
    for place, (server, color) in enumerate(SERVERS.items()):
        found = [row for row in rows if row.server == server]
        if not found:
            continue
        middles = [row.median(value) for row in found]
        lows = [middle - min(map(value, row.samples)) for middle, row in zip(middles, found, strict=True)]
        highs = [max(map(value, row.samples)) - middle for middle, row in zip(middles, found, strict=True)]
        heights = [kinds.index(row.kind) + (place - (len(SERVERS) - 1) / 2) * BAR for row in found]
        bars = panel.barh(
            heights, middles, BAR * 0.9, color=color, label=server, xerr=(lows, highs), error_kw={"lw": 0.7}
        )
        texts = [f"{middle:.0f}" if middle >= 10 else f"{middle:.1f}" for middle in middles]
        panel.bar_label(bars, texts, padding=4, fontsize=7)
    panel.set_yticks(range(len(kinds)), kinds)
    panel.margins(x=0.1, y=0.02)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="x", lw=0.4, alpha=0.5)
    panel.set_axisbelow(True)


def main() -> None:
    """Draw the results of a file, or of this version."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / f"{gateway.__version__}.json"
    if not source.exists():
        raise SystemExit(f"{source} is not there: python -m benchmarks --save writes it")
    draw(read(source), source.with_suffix(".svg"))
    sys.stdout.write(f"{source.with_suffix('.svg')}\n")


if __name__ == "__main__":
    main()
