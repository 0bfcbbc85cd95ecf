"""The documentation is held to what the code says."""

import inspect
import re
import runpy

import click
import msgspec
from litestar.exceptions import HTTPException

from gateway.adapters.policy_files import read_policies
from gateway.adapters.redis import keys
from gateway.cli.main import commands
from gateway.core.http.messages import Ended
from gateway.core.http.problems import PROBLEMS
from gateway.core.metrics import gather_metrics
from gateway.core.pages.export_urls import build_snippets
from gateway.core.policies.schema import CacheTable
from gateway.core.quotas.algorithms import ALGORITHMS
from gateway.core.tokens.records import AccessRecord
from gateway.core.upstream.causes import ADVICE, Cause
from gateway.core.usage import StoreMemory, Totals, UsageLabels
from gateway.core.variants.formats import FORMATS
from gateway.litestar_plugin import refusals
from gateway.litestar_plugin.refusals import GatewayRefusal
from gateway.settings import PREFIX, Settings
from tests.support.documents import DOCUMENTS, ROOT, page, read


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under the header line that begins with `heading`."""
    lines = text[text.index(f"| {heading} |") :].splitlines()
    table = lines[2 : next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table]


def written(default: object) -> str:
    """A default as a variable of the environment has it."""
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_every_reason_is_documented_with_its_status() -> None:
    """The table of answers is the table of core/http/problems.py."""
    documented = {row[0].strip("`"): int(row[1]) for row in rows(page("reference/errors.md"), "reason")}
    assert {str(reason): problem.status for reason, problem in PROBLEMS.items()} == documented


def test_every_setting_is_documented_with_its_default() -> None:
    """The table of settings is the struct of settings.py."""
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows(page("reference/settings.md"), "variable")}
    settings = {
        PREFIX + field.name.upper(): "none" if field.default is msgspec.NODEFAULT else written(field.default)
        for field in msgspec.structs.fields(Settings)
    }
    assert settings == documented


def test_every_metric_is_documented_with_its_labels() -> None:
    """The table of metrics is what `/metrics` tells."""
    totals = Totals(
        {UsageLabels("p", "", "2xx", ""): 1},
        {"store-refused": 1, "redis-refused:OOM": 1, "log-lines-dropped": 1, "recognition:learnt": 1, "alerts:sent": 1},
    )
    told = {
        metric.name: list(metric.samples[0].labels) for metric in gather_metrics(totals, StoreMemory(1, 1), 0, {"p": 1})
    }
    documented = {
        row[0].strip("`"): re.findall(r"`(\w+)`", row[1]) for row in rows(page("reference/metrics.md"), "metric")
    }
    assert told == documented


def test_every_field_of_a_record_is_documented() -> None:
    """The table of fields is the struct of an access record, and its example is one."""
    documented = [
        name
        for row in rows(page("reference/access-log.md"), "field of a record")
        for name in re.findall(r"`(\w+)`", row[0])
    ]
    fields = AccessRecord.__struct_fields__
    assert sorted(fields) == sorted(documented)
    (example,) = re.findall(r'^\{"time".*$', page("reference/access-log.md"), re.MULTILINE)
    assert example == msgspec.json.encode(msgspec.json.decode(example, type=AccessRecord)).decode()


def test_every_end_of_an_answer_is_documented() -> None:
    """The table of ends is what a record can say."""
    assert [str(ended) for ended in Ended] == [
        row[0].strip("`") for row in rows(page("reference/access-log.md"), "end of an answer (`ended`)")
    ]


def test_every_cause_of_a_failure_is_documented_with_its_advice() -> None:
    """The table of causes is the table that the log speaks by."""
    documented = {
        row[0].strip("`"): row[1] for row in rows(page("reference/access-log.md"), "cause (`upstream_error`)")
    }
    assert {str(cause): ADVICE[cause] for cause in Cause} == documented


def test_every_key_of_a_cache_is_documented() -> None:
    """The table of the cache is the table that a policy file may have."""
    documented = [row[0].strip("`") for row in rows(page("guide/caching.md"), "key")]
    assert [field.name for field in msgspec.structs.fields(CacheTable)] == documented


def test_every_algorithm_is_documented() -> None:
    """The guide's table of algorithms is that of core/quotas/algorithms.py, and the example policy names each."""
    assert [[name, one.keeps, one.admits, one.resets] for name, one in ALGORITHMS.items()] == rows(
        page("guide/limits.md"), "algorithm"
    )
    example = (ROOT / "policies" / "example.toml").read_text(encoding="utf-8")
    assert [] == [name for name in ALGORITHMS if f'"{name}"' not in example]


def test_every_format_is_documented() -> None:
    """The guide's table of options has the formats of core/variants/formats.py, and the example policy names each."""
    documented = [
        re.findall(r"`([\w-]+)`", row[2]) for row in rows(page("guide/exports.md"), "option") if "`format`" in row
    ]
    assert [list(formats) for formats in FORMATS.values()] == documented
    example = (ROOT / "policies" / "example.toml").read_text(encoding="utf-8")
    (line,) = re.findall(r"^# format = .*$", example, re.MULTILINE)
    named = re.findall(r"[\w-]+", line)
    assert [] == [name for formats in FORMATS.values() for name in formats if name not in named]


GENERAL_FORMATS = {"json", "csv", "xml"}
"""The formats of translations that are for no program in particular."""


def test_every_format_for_programs_is_described() -> None:
    """The guide's table of formats for programs has them all, and says which hold one language per file."""
    described = [
        (row[0].strip("`"), row[3] == "one" or row[3].startswith("one,"), "source language" in row[3])
        for row in rows(page("guide/exports.md"), "format")
    ]
    assert [
        (name, format_.has_one_language, format_.adds_source)
        for name, format_ in FORMATS["translations"].items()
        if name not in GENERAL_FORMATS
    ] == described


def test_every_command_is_documented() -> None:
    """The table of commands is the command line."""

    def paths(group: click.Group, prefix: str) -> set[str]:
        found = set()
        for name, command in group.commands.items():
            found |= paths(command, f"{prefix} {name}") if isinstance(command, click.Group) else {f"{prefix} {name}"}
        return found

    assert paths(commands, "gateway") == {
        row[0].strip("`") for row in rows(page("reference/command-line.md"), "command")
    }


NO_KEYS = {
    "all_projects",
    "all_tokens",
    "audits",
    "bucket",
    "counter",
    "indexes",
    "literal",
    "lua_prelude",
    "project_of_list",
    "traces",
}
"""What of adapters/redis/keys.py makes patterns of keys, parts of them, or keys that another function makes."""


def test_every_key_in_redis_is_documented() -> None:
    """Each function that makes keys says of which type each is and what is in it: the table is made of that."""
    find_redis_keys = runpy.run_path(str(ROOT / ".ci" / "reference.py"))["find_redis_keys"]
    builders = {
        inspect.getsourcelines(builder)[1]: name
        for name, builder in inspect.getmembers(keys, inspect.isfunction)
        if builder.__module__ == keys.__name__ and not name.startswith("_")
    }
    assert NO_KEYS == set(builders.values()) - {builders[line] for line, _ in find_redis_keys()}


def test_the_lines_for_a_job_are_those_of_the_developer_page() -> None:
    """What the page tells to pull with is what a test runs (tests/system/test_snippets.py)."""
    policy = read_policies(ROOT / "policies", {}).policies["example"]
    url = "https://api.example.com/api/v1/projects/website/translations/export"
    assert f"```sh\n{build_snippets(policy, url, 'json')[0].text}\n```\n" in page("guide/ci-recipes.md")


def test_make_targets_in_the_documents_exist() -> None:
    """`make x` is told only where the Makefile has x."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for file in DOCUMENTS for target in re.findall(r"(?:`|\$ )make ([a-z]+(?:-[a-z]+)*)\b", read(file))}
    assert set() == named - targets


def test_the_plugins_page_names_what_there_is() -> None:
    """Its exceptions are those of the module, each under the class that it extends."""
    text = page("guide/plugin.md")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE)
    kinds = {kind for kind in vars(refusals).values() if isinstance(kind, type) and issubclass(kind, HTTPException)}
    own = {kind for kind in kinds if issubclass(kind, GatewayRefusal)}
    assert {(kind.__name__, kind.__mro__[1].__name__) for kind in own} == {*rows}
