"""The builder of export addresses: the choices of a form, the exact address for them, and a sample of the export.

The address names every option, including defaults: a build that copies it gets the same export even if the policy's
defaults change. The options are read as the gateway reads a request, so that the builder never shows an address that
would be refused without saying so.

Snippets are ready lines for users of a new token: they read it from the environment, and never contain it.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from textwrap import indent
from urllib.parse import quote, urlencode

import msgspec

from gateway.core.http.targets import parse_path
from gateway.core.pages.formatting import build_sample
from gateway.core.policies.matching import bind_parameters
from gateway.core.policies.model import CredentialSource, Policy, Rule, Scheme
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import DocumentForm, InvalidOptions, Variant
from gateway.core.variants.options import OfferedOption, VariantRule, build_offer, parse_variant
from gateway.core.variants.rendering import render

ALL = "*"
_UNESCAPED = ",*@"
"""Characters that stay unencoded in a query, for readability: RFC 3986 3.4 allows them there."""


class Field(msgspec.Struct, frozen=True):
    """One choice of the form. `chosen` has one text, or for a list of known values all that are ticked."""

    option: OfferedOption
    key: str
    chosen: tuple[str, ...]

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off."""
        return self.option.values is not None and set(self.option.values) == {"true", "false"}


class Parameter(msgspec.Struct, frozen=True):
    """A part of the path that the caller fills in."""

    name: str
    key: str
    value: str


class Build(msgspec.Struct, frozen=True):
    """The content of the form."""

    parameters: tuple[Parameter, ...]
    fields: tuple[Field, ...]
    target: str
    """Path and query; parameters that are not filled in are in braces."""
    is_complete: bool
    mistakes: tuple[str, ...]
    sample: str
    """The export of sample content; empty if it cannot be made."""
    media_type: str
    extension: str
    """The extension of a file with the export; empty if nothing can be exported."""


def build(rule: Rule, variants: VariantRule, asked: Mapping[str, Sequence[str]], project: str) -> Build:
    """Read the form as it was filled in: `p.NAME` for the path's parameters, `o.NAME` for options."""
    offer = build_offer(variants, rule.pattern.text.partition(" ")[2])
    project_name = rule.pattern.segments[rule.project_segment][1:-1] if rule.project_segment is not None else ""
    parameters = tuple(
        Parameter(name, f"p.{name}", (asked.get(f"p.{name}") or [project if name == project_name else ""])[0].strip())
        for name in bind_parameters(rule.pattern, rule.pattern.segments)
    )
    fields = tuple(_read_field(option, asked) for option in offer.options if option.place == "query")
    values = {parameter.name: parameter.value for parameter in parameters}
    segments = tuple(values.get(one[1:-1]) or one if one.startswith("{") else one for one in rule.pattern.segments)
    path = "".join(f"/{one if one.startswith('{') else quote(one, safe='')}" for one in segments)
    query = urlencode([(one.option.name, _write(one)) for one in fields], safe=_UNESCAPED)
    is_complete = all(values.values())
    variant = parse_variant(variants, query, segments if is_complete else _filled(rule, variants, segments))
    mistakes = [mistake.message for mistake in variant.mistakes] if isinstance(variant, InvalidOptions) else []
    if is_complete and parse_path(path) is None:
        mistakes.append("The path would be refused: no part of it may be empty, `.` or `..`, or hold a slash.")
    sample, media_type, extension = "", "", ""
    if not isinstance(variant, InvalidOptions):
        form = DocumentForm(variants.form.kind)
        rendered = render(build_sample(form.kind, variant), form, variant)
        sample = rendered.content.decode() if not isinstance(rendered, InvalidOptions) else ""
        written = FORMATS[form.kind][variant.format]
        media_type, extension = written.media_type, written.extension
    target = f"{path}?{query}" if query else path
    return Build(parameters, fields, target, is_complete, tuple(mistakes), sample, media_type, extension)


def default_extension(variants: VariantRule | None) -> str:
    """Return the extension of a file for an export in the default format; empty if exports have no formats."""
    if variants is None:
        return ""
    said = (option.default[0] for option in variants.options if option.sets == "format" and option.default)
    return FORMATS[variants.form.kind][next(said, Variant().format)].extension


def _read_field(option: OfferedOption, asked: Mapping[str, Sequence[str]]) -> Field:
    key = f"o.{option.name}"
    said = asked.get(key)
    if said is None:
        return Field(option, key, option.default or ((ALL,) if option.all else ()))
    if not option.all:
        return Field(option, key, (said[-1].strip(),))  # a switch that is on sends "false" and "true"
    ticked = tuple(part.strip() for text in said for part in text.split(",") if part.strip())
    return Field(option, key, ticked or (ALL,))


def _write(field: Field) -> str:
    known = field.option.values or ()
    return ALL if field.option.all and known and set(field.chosen) >= set(known) else ",".join(field.chosen)


def _filled(rule: Rule, variants: VariantRule, segments: tuple[str, ...]) -> tuple[str, ...]:
    """Return the segments with an allowed value for each parameter that is not filled in."""
    allowed = {option.segment: (option.values or ("x",))[0] for option in variants.options}
    return tuple(
        allowed.get(index, "x") if one.startswith("{") and one == rule.pattern.segments[index] else one
        for index, one in enumerate(segments)
    )


_NOT_NAME = re.compile(r"[^A-Z0-9]+")


class Snippet(msgspec.Struct, frozen=True):
    """A few lines under a heading; `place` says where they go, empty if that is obvious."""

    key: str
    title: str
    place: str
    text: str


def variable_name(policy: str) -> str:
    """Return the name of the variable for a policy's tokens: KOPIMARK_API_TOKEN."""
    name = _NOT_NAME.sub("_", policy.upper()).strip("_")
    return f"{'' if name[:1].isalpha() else 'GATEWAY_'}{name}_API_TOKEN"


def field_line(policy: Policy, value: str) -> str:
    """Return the field that carries a token, as curl takes it, for double quotes of a shell."""
    source = _usual_source(policy)
    if source.scheme is Scheme.BEARER:
        return f"Authorization: Bearer {value}"
    if source.scheme is Scheme.BASIC:
        return f"Authorization: Basic $(printf 'token:%s' \"{value}\" | base64 | tr -d '\\n')"
    return f"{'-'.join(part.capitalize() for part in source.field.decode().split('-'))}: {value}"


def build_snippets(policy: Policy, url: str, extension: str = "") -> tuple[Snippet, ...]:
    """How to pull `url` from a shell and from two kinds of pipelines, and only what has changed since the last time.

    Without an extension the file has none: what kind of content it is, nobody knows.
    """
    variable = variable_name(policy.name)
    file = f"exports/export.{extension}" if extension else "exports/export"
    pull = _PULL.format(field=field_line(policy, f"${variable}"), file=file, url=shlex.quote(url))
    command = _COMMAND.format(field=_field_option(policy), file=file, url=shlex.quote(url), variable=variable)
    github = _GITHUB.format(variable=variable, job=indent(pull, " " * 10))
    gitlab = _GITLAB.format(variable=variable, job=indent(pull, " " * 6))
    return (
        Snippet("curl", "curl", "pull-export.sh, or a step of a job", pull),
        Snippet("gateway", "gateway pull", "With token-gateway-pull, which also resumes and verifies", command),
        Snippet("environment", "Environment", ".env, kept out of version control", f"{variable}=paste-the-token-here"),
        Snippet("github", "GitHub Actions", ".github/workflows/pull.yml", github),
        Snippet("gitlab", "GitLab CI", ".gitlab-ci.yml", gitlab),
    )


def _field_option(policy: Policy) -> str:
    """Return the option of gateway-pull that names the field of the token, if that is not Authorization."""
    name = field_line(policy, "").partition(":")[0]
    return "" if name == "Authorization" else f" --field {name}"


def _usual_source(policy: Policy) -> CredentialSource:
    """Return where a build puts the token: the first way that needs no encoding, if there is one."""
    return next((one for one in policy.credentials if one.scheme is not Scheme.BASIC), policy.credentials[0])


# The file and its entity tag are replaced after an answer of 200, and by nothing else: some versions of curl (7.88)
# empty the file of --etag-save at a refusal, a transfer can break off, and an answer may have no tag. A tag without its
# file is no use. The token goes to curl on its standard input, because everybody on a machine can read arguments.
# --retry obeys Retry-After. curl tells 200 also of a transfer that breaks off. A failure is the status of the last
# command, with and without -e.
_PULL = """\
url={url}
file={file}
mkdir -p "${{file%/*}}"
[ -s "$file" ] || rm -f "$file.etag"
rm -f "$file.new" "$file.etag.new"
touch "$file.etag"
status=$(printf '%s' "{field}" |
  curl --fail --silent --show-error --header @- \\
    --retry 5 --retry-connrefused --retry-max-time 600 \\
    --etag-compare "$file.etag" --etag-save "$file.etag.new" \\
    --output "$file.new" --write-out '%{{http_code}}' "$url") || status="$status, failed"
case $status in
  304) ;;
  200) touch "$file.new" "$file.etag.new" && rm -f "$file.etag" &&
    mv "$file.new" "$file" && mv "$file.etag.new" "$file.etag" ;;
  *) echo "$url: answer $status; $file is unchanged" >&2; false ;;
esac"""
_COMMAND = """\
gateway-pull {url} \\
  --output {file} --token-variable {variable}{field}"""
_GITHUB = """\
# Settings, Secrets and variables, Actions: add {variable}
on:
  schedule:
    - cron: "17 4 * * *"
jobs:
  pull:
    runs-on: ubuntu-latest
    steps:
      - name: Keep the last export and its entity tag
        uses: actions/cache@v4
        with:
          path: exports
          key: export-${{{{ github.run_id }}}}
          restore-keys: export-
      - name: Pull the export, if it has changed
        env:
          {variable}: ${{{{ secrets.{variable} }}}}
        run: |
{job}
"""
_GITLAB = """\
# Settings, CI/CD, Variables: add {variable}, masked
pull:
  rules:
    - if: $CI_PIPELINE_SOURCE == "schedule"
  cache:
    key: export
    paths: [exports]
  script:
    - |
{job}
"""
