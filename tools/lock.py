"""Solve the lock files anew from pyproject.toml, without a registry's address in them.

Run by `make lock`. `requirements.lock` pins every package of every extra;
`requirements-run.lock` is the part of it that running a node, a coordinator and the demo takes.
Left out: the project itself, pip, and torch's local build tag (`+cpu`), since the same version is
served under different tags. `requirements-data.lock` is kept by hand: it names a wheel that is read
for its data and never installed.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHOLE = ROOT / "requirements.lock"
RUN = ROOT / "requirements-run.lock"
RUN_EXTRAS = ("node", "coordinator")
BUILD_TOOLS = ("setuptools", "wheel")


def solve(target: Path, *options: str) -> list[str]:
    """Run the solver into `target` and return the pins, one `name==version` each."""
    command = [
        *(sys.executable, "-m", "piptools", "compile", "--quiet", "--strip-extras"),
        *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"),
        *("--no-header", "--no-annotate", "--allow-unsafe", *options),
        *("--output-file", str(target), "pyproject.toml"),
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    pins = [
        re.sub(r"\+cpu$", "", line)
        for line in target.read_text().splitlines()
        if line and not line.startswith(("#", "yumen @", "pip=="))
    ]
    target.write_text("\n".join(pins) + "\n")
    return pins


def main() -> None:
    whole = solve(WHOLE, "--all-extras")
    extras = [f"--extra={name}" for name in RUN_EXTRAS]
    run = solve(RUN, *extras, "--constraint", str(WHOLE))
    tools = [pin for pin in whole if pin.partition("==")[0] in BUILD_TOOLS]
    RUN.write_text("\n".join(sorted({*run, *tools})) + "\n")
    if odd := set(run) - set(whole):
        sys.exit(f"the two lock files differ: {', '.join(sorted(odd))}")


if __name__ == "__main__":
    main()
