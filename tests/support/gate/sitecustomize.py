"""Stands before a gateway's own imports, by PYTHONPATH: who imports `gateway.app` waits until the gate is open.

The gate is the file that TEST_GATE names; one beside it, with the process' number, says that somebody waits.
"""

import os
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any


class Gate(MetaPathFinder):
    """Finds the module where it is, and has it loaded late: while one thread waits, others may import."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "gateway.app":
            return None
        spec = PathFinder.find_spec(name, path, target)
        loader: Any = spec.loader if spec else None
        load = loader.exec_module

        def load_late(module: ModuleType) -> None:
            gate = Path(os.environ["TEST_GATE"])
            gate.with_suffix(f".{os.getpid()}").touch()
            while not gate.exists():
                time.sleep(0.01)
            load(module)

        loader.exec_module = load_late
        return spec


sys.meta_path.insert(0, Gate())
