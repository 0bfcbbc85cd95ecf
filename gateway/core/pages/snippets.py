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


def build_snippets(policy: Policy, url: str) -> tuple[Snippet, ...]:
    """How to call `url` from a shell and from two kinds of pipelines."""
    variable = variable_name(policy.name)
    quoted = shlex.quote(url)
    field = field_line(policy, f"${variable}")
    job = f'curl --fail --silent --show-error \\\n  --header "{field}" \\\n  --output export {quoted}'
    curl = f'curl --fail --header "{field}" \\\n  {quoted}'
    github = _GITHUB.format(variable=variable, job=indent(job, " " * 10))
    gitlab = _GITLAB.format(variable=variable, job=indent(job, " " * 6))
    return (
        Snippet("curl", "curl", "", curl),
        Snippet("environment", "Environment", ".env, kept out of version control", f"{variable}=paste-the-token-here"),
        Snippet("github", "GitHub Actions", ".github/workflows/pull.yml", github),
        Snippet("gitlab", "GitLab CI", ".gitlab-ci.yml", gitlab),
    )


_GITHUB = """\
# Settings, Secrets and variables, Actions: add {variable}
on:
  schedule:
    - cron: "17 4 * * *"
jobs:
  pull:
    runs-on: ubuntu-latest
    steps:
      - name: Pull the export
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
  script:
    - |
{job}
"""
