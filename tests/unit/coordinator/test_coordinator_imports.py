"""What the process of a coordinator loads: nothing that decrypts, trains or reads tables."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = "import sys, yumen_coordinator.service; sys.exit('{}' in sys.modules)"


@pytest.mark.parametrize("module", ["tenseal", "torch", "flwr", "duckdb"])
def test_a_coordinator_does_without(module: str) -> None:
    assert subprocess.run([sys.executable, "-c", CODE.format(module)], check=False).returncode == 0
