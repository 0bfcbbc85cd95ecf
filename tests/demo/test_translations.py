"""What the documents of the example projects promise."""

import json
import os
import subprocess
import sys
from hashlib import sha256

import pytest

from gateway.demo.backend.translations import PROJECT_KINDS, export_translations


def test_translations_are_the_same_bytes_in_another_process() -> None:
    """Neither the hash seed nor the process shows in a canonical document."""
    module = "gateway.demo.backend.translations"
    program = f"import sys; from {module} import export_translations as it; sys.stdout.buffer.write(it('app'))"
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
    ).stdout

    assert sha256(export_translations("app")).hexdigest() == sha256(printed).hexdigest()


@pytest.mark.parametrize("project", [*PROJECT_KINDS])
def test_a_project_has_hundreds_of_entries_with_unique_ids_and_mostly_keys(project: str) -> None:
    """Ids identify, every status occurs, and a few percent of the entries have no key."""
    entries = json.loads(export_translations(project))["entries"]
    keys = [entry["key"] for entry in entries if "key" in entry]

    assert len(entries) > 800
    assert len(entries) == len({entry["id"] for entry in entries})
    assert len(keys) == len(set(keys))
    assert 0.01 < 1 - len(keys) / len(entries) < 0.08
    assert {"draft", "review", "approved", "shipped"} == {entry["status"] for entry in entries}
