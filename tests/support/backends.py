"""Real backends, as their users start them: lighttpd with CGI, what comes from PyPI in an environment of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import Process, free_port, is_listening, wait_until
from tests.support.programs import LEFT_OUT, find_program

ENVIRONMENT = Path(sys.prefix) / "backends"
"""Where `make test` installs the dependency group `backends`."""
PYTHON = ENVIRONMENT / "bin" / "python"

LIGHTTPD = """
server.modules = ("mod_indexfile", "mod_cgi")
index-file.names = ("index.html")
server.document-root = "{folder}/www"
server.bind = "127.0.0.1"
server.port = {port}
cgi.assign = (".cgi" => "{python}")
"""
SHOW_ENVIRONMENT = """
import json, os
print("Content-Type: application/json\\r\\n\\r\\n" + json.dumps(dict(os.environ)), end="")
"""
FASTAPI = """
from fastapi import FastAPI, Request, Response

app = FastAPI()

@app.get("/items/")
def list_items(request: Request, response: Response) -> dict[str, str]:
    response.headers["Link"] = f'<{request.url_for("show_item", item=2)}>; rel="next"'
    response.set_cookie("page", "1", domain=request.url.hostname, path="/items")
    return {"url": str(request.url)}

@app.get("/items/{item}")
def show_item(item: int) -> int:
    return item
"""
MAKE_DATABASE = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.executescript("create table texts (id integer primary key, name text); insert into texts (name) values ('a')")
"""


def start_lighttpd(folder: Path, port: int) -> list[str]:
    """The environment of a request under /show.cgi, and a folder /folder/."""
    www = folder / "www"
    (www / "folder").mkdir(parents=True)
    (www / "folder" / "index.html").write_text("<p>folder")
    (www / "show.cgi").write_text(SHOW_ENVIRONMENT)
    (folder / "lighttpd.conf").write_text(LIGHTTPD.format(folder=folder, port=port, python=sys.executable))
    return [find_program("lighttpd"), "-D", "-f", str(folder / "lighttpd.conf")]


def start_fastapi(folder: Path, port: int) -> list[str]:
    """An app whose address with a slash at its end is the one that there is, as in its tutorial."""
    (folder / "application.py").write_text(FASTAPI)
    return [str(PYTHON), "-m", "uvicorn", "application:app", "--app-dir", str(folder), "--port", str(port)]


def start_datasette(folder: Path, port: int) -> list[str]:
    """A database with one table."""
    database = folder / "data.db"
    subprocess.run([sys.executable, "-c", MAKE_DATABASE, str(database)], check=True)
    return [str(PYTHON), "-m", "datasette", str(database), "--port", str(port)]


def start_httpbin(_: Path, port: int) -> list[str]:
    """The public service, here."""
    return [str(PYTHON), "-m", "httpbin.core", "--port", str(port)]


BACKENDS: dict[str, Callable[[Path, int], list[str]]] = {
    "lighttpd": start_lighttpd,
    "fastapi": start_fastapi,
    "datasette": start_datasette,
    "httpbin": start_httpbin,
}


def require(package: str) -> None:
    """Leave a test out, or fail it, as find_program does, if its backend's package is not in its environment."""
    command = [str(PYTHON), "-c", f"import {package}"]
    if PYTHON.exists() and subprocess.run(command, check=False, capture_output=True).returncode == 0:
        return
    if package in os.environ.get(LEFT_OUT, "").split():
        pytest.skip(f"needs {package}")
    pytest.fail(f"this test needs {package} in {ENVIRONMENT}; to leave such tests out, set {LEFT_OUT}={package}")


class Backend(Process):
    """One of them, running."""

    def __init__(self, name: str, folder: Path) -> None:
        if name != "lighttpd":
            require(name)
        self.port = free_port()
        super().__init__(BACKENDS[name](folder, self.port), folder / f"{name}.log", {"PYTHONWARNINGS": "ignore"})
        wait_until(lambda: is_listening(self.port) or self.popen.poll() is not None, f"{name} listens on {self.port}")
        if self.popen.poll() is not None:
            raise AssertionError(f"{name} ended at its start:\n{self.text()}")
