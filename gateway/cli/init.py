"""`gateway init`: a first policy, in a folder of one's own."""

import shlex
from pathlib import Path

import click

from gateway.core.errors import ConfigurationError

STARTER = Path(__file__).parents[1] / "starter" / "policy.toml"
"""The policy that is shipped in the wheel."""
STORE = "--redis redis://127.0.0.1:6379/0"


@click.command()
@click.argument("folder", default="policies", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Write a small policy, explained line by line, into FOLDER (default: policies).

    Nothing is overwritten: a folder with policy files is left as it is.
    """
    written = write_starter(folder)
    click.echo(f"Wrote {written}\n\n{describe_next(folder)}")


def write_starter(folder: Path) -> Path:
    """Write the policy file and return its path. Raise ConfigurationError if it exists, or cannot be written."""
    written = folder / STARTER.name
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"init: {folder} is a file: name a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(file.name for file in folder.glob("*.toml"))
        if found:
            raise ConfigurationError(f"init: {folder} has policies already ({', '.join(found)}): name another folder")
        with written.open("x", encoding="utf-8") as file:
            file.write(STARTER.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"init: cannot write {written}: {error.strerror or error}") from error
    return written


def describe_next(folder: Path) -> str:
    """Return the next steps with the new policy, as commands that work when pasted."""
    name = shlex.quote(str(folder))
    return f"""\
Next:
  1. In that file, set `upstream` to your backend, and the paths and scopes to yours.
  2. Check it:
       gateway policy check {name}
  3. Serve it, with a Redis server:
       gateway serve --policies {name} {STORE}
  4. In another shell, create a token; then send it with a request:
       gateway token create --policies {name} {STORE} \\
           --policy api --owner me --name "my first token" --scope read
       curl -i -H "Authorization: Bearer TOKEN" http://127.0.0.1:8080/api/v1/projects/website/export"""
