"""Certificates of an authority of the tests' own, made by openssl."""

import subprocess
from pathlib import Path

KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


def openssl(folder: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


def make_authority(folder: Path, name: str = "Authority") -> None:
    """An authority, `ca.pem`, with its key, `ca.key`."""
    openssl(folder, f"req -x509 {KEY} -days 2 -subj /CN={name} -addext keyUsage=critical,keyCertSign "
            "-keyout ca.key -out ca.pem")  # fmt: skip


def issue(folder: Path, name: str, subject: str) -> None:
    """A certificate of the authority in the folder, `NAME.pem`, with its key, `NAME.key`."""
    openssl(folder, f"req {KEY} -subj /CN={name} -keyout {name}.key -out {name}.csr -addext subjectAltName={subject}")
    openssl(folder, f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -days 2 -copy_extensions copy -out {name}.pem")
