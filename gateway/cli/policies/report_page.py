"""The page of a simulation: one HTML file that needs neither a network nor a script."""

from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from gateway.cli.policies.charts import draw_curve, draw_hours, draw_peaks, draw_use
from gateway.core.simulation.tally import Report

MOST_TOKENS = 100
"""Tokens in the page's table; the JSON has all."""


def build_page(report: Report) -> str:
    """Build the page; whatever comes from the log is escaped."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["share"] = lambda number, of: f"{100 * number / of if of else 0:.2f} %"
    template = environment.from_string((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))
    plots = [(one, *(Markup(draw(one)) for draw in (draw_use, draw_peaks, draw_curve))) for one in report.quotas]  # noqa: S704 - drawn here
    hours = Markup(draw_hours(report.hours))  # noqa: S704 - drawn here
    tokens = list(report.by_token.items())
    more = len(tokens) - MOST_TOKENS
    return template.render(report=report, plots=plots, hours=hours, tokens=tokens[:MOST_TOKENS], more=more)
