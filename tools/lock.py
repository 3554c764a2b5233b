"""Solve requirements.lock anew from pyproject.toml, without a registry's address in it.

Run by `make lock`. The file pins every package of every extra. Left out: the project itself, pip,
and torch's local build tag (`+cpu`), since the same version is served under different tags.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
COMMAND = [
    *(sys.executable, "-m", "piptools", "compile", "--quiet", "--all-extras", "--strip-extras"),
    *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"),
    *("--no-header", "--no-annotate", "--allow-unsafe", "--output-file", str(LOCK)),
    "pyproject.toml",
]


def main() -> None:
    subprocess.run(COMMAND, cwd=ROOT, check=True)
    kept = [
        re.sub(r"\+cpu$", "", line)
        for line in LOCK.read_text().splitlines()
        if line and not line.startswith(("#", "yumen @", "pip=="))
    ]
    LOCK.write_text("\n".join(kept) + "\n")


if __name__ == "__main__":
    main()
