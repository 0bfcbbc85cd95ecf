"""The proxies of deploy/, running: the files as they are shipped, but for addresses and paths."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.support.processes import Process, free_port, is_listening, wait_until
from tests.support.programs import find_program

DEPLOY = Path(__file__).parents[2] / "deploy" / "forward-auth"

NGINX_MAIN = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  include {folder}/nginx.conf;
}}
"""


@dataclass(frozen=True)
class Kind:
    """A proxy: which files it needs and how it is started; words with {folder} are filled in."""

    executable: str
    files: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


KINDS = {
    "nginx": Kind(
        "nginx", ("nginx.conf",), ("-c", "{folder}/main.conf", "-p", "{folder}", "-e", "{folder}/nginx-error.log"), {}
    ),
    "caddy": Kind(
        "caddy",
        ("Caddyfile",),
        ("run", "--config", "{folder}/Caddyfile", "--adapter", "caddyfile"),
        {"XDG_DATA_HOME": "{folder}", "XDG_CONFIG_HOME": "{folder}", "HOME": "{folder}"},
    ),
    "traefik": Kind("traefik", ("traefik.yml", "traefik-dynamic.yml"), ("--configFile={folder}/traefik.yml",), {}),
    "envoy": Kind(
        "envoy", ("envoy.yaml",), ("-c", "{folder}/envoy.yaml", "--concurrency", "1", "--use-dynamic-base-id"), {}
    ),
    "haproxy": Kind("haproxy", ("haproxy.cfg", "haproxy-authorize.lua"), ("-f", "{folder}/haproxy.cfg"), {}),
}


class Edge(Process):
    """A running proxy, by the files in `shipped`; `others` are further texts of these to replace."""

    def __init__(
        self,
        kind: str,
        folder: Path,
        gateway_port: int,
        backend_port: int = 0,
        *,
        shipped: Path = DEPLOY,
        others: Mapping[str, str] = MappingProxyType({}),
        site: str = "http://:8000",
    ) -> None:
        self.port = free_port()
        addresses = {
            "127.0.0.1:8080": f"127.0.0.1:{gateway_port}",
            "127.0.0.1:9001": f"127.0.0.1:{backend_port}",
            "127.0.0.1:8000": f"127.0.0.1:{self.port}",
            "port_value: 8080": f"port_value: {gateway_port}",
            "port_value: 9001": f"port_value: {backend_port}",
            "port_value: 8000": f"port_value: {self.port}",
            "filename: ": f"filename: {folder}/",
            "lua-load ": f"lua-load {folder}/",
        }
        addresses |= {site: f"{'http://' if site.startswith('http:') else 'https://localhost'}:{self.port}", **others}
        for name in KINDS[kind].files:
            text = (shipped / name).read_text(encoding="utf-8")
            for there, here in addresses.items():
                text = text.replace(there, here)
            (folder / name).write_text(text)
        (folder / "main.conf").write_text(NGINX_MAIN.format(folder=folder))
        command = [
            find_program(KINDS[kind].executable),
            *(word.format(folder=folder) for word in KINDS[kind].arguments),
        ]
        environment = {name: value.format(folder=folder) for name, value in KINDS[kind].environment.items()}
        super().__init__(command, folder / f"{kind}.log", environment)
        wait_until(lambda: is_listening(self.port) or self.popen.poll() is not None, f"{kind} listens on {self.port}")
        if self.popen.poll() is not None:
            raise AssertionError(f"{kind} ended at its start:\n{self.text()}")
