"""Ready lines for those who use a new token: they read it from the environment, and never contain it."""

import re
import shlex
from textwrap import indent

import msgspec

from gateway.core.policies.rules import Policy

_NOT_NAME = re.compile(r"[^A-Z0-9]+")


class Snippet(msgspec.Struct, frozen=True):
    """A few lines under a heading; `place` says where they go, empty where that is clear."""

    key: str
    title: str
    place: str
    text: str


def variable_name(policy: str) -> str:
    """The variable that a policy's tokens are kept in: KOPIMARK_API_TOKEN."""
    name = _NOT_NAME.sub("_", policy.upper()).strip("_")
    return f"{'' if name[:1].isalpha() else 'GATEWAY_'}{name}_API_TOKEN"


def field_line(policy: Policy, value: str) -> str:
    """The field that carries a token, as curl's -H takes it."""
    source = policy.credentials[0]
    if source.is_bearer:
        return f"Authorization: Bearer {value}"
    return f"{'-'.join(part.capitalize() for part in source.field.decode().split('-'))}: {value}"


def build_snippets(policy: Policy, url: str, extension: str = "") -> tuple[Snippet, ...]:
    """How to pull `url` from a shell and from two kinds of pipelines, and only what has changed since the last time.

    Without an extension the file has none: what kind of content it is, nobody knows.
    """
    variable = variable_name(policy.name)
    file = f"export.{extension}" if extension else "export"
    pull = _PULL.format(field=field_line(policy, f"${variable}"), file=file, url=shlex.quote(url))
    github = _GITHUB.format(variable=variable, file=file, job=indent(pull, " " * 10))
    gitlab = _GITLAB.format(variable=variable, file=file, job=indent(pull, " " * 6))
    return (
        Snippet("curl", "curl", "", pull),
        Snippet("environment", "Environment", ".env, kept out of version control", f"{variable}=paste-the-token-here"),
        Snippet("github", "GitHub Actions", ".github/workflows/pull.yml", github),
        Snippet("gitlab", "GitLab CI", ".gitlab-ci.yml", gitlab),
    )


# The entity tag and the file are replaced together, and only after an answer that is good: some versions of curl (7.88)
# empty the file of --etag-save at a refusal, and a transfer can break off. A tag without its file is no use.
_PULL = """\
[ -s {file} ] || rm -f {file}.etag
rm -f {file}.new {file}.etag.new; touch {file}.etag
curl --fail --silent --show-error \\
  --header "{field}" \\
  --etag-compare {file}.etag --etag-save {file}.etag.new \\
  --output {file}.new {url} &&
{{ [ ! -s {file}.new ] || mv {file}.new {file}; }} &&
{{ [ ! -s {file}.etag.new ] || mv {file}.etag.new {file}.etag; }}"""
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
          path: |
            {file}
            {file}.etag
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
    paths: [{file}, {file}.etag]
  script:
    - |
{job}
"""
