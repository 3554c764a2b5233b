"""Generate the gRPC stubs under core/yumen_core/rpc/v1 from protos/yumen/v1.

`--check` generates into a temporary folder and fails when the committed stubs differ, so that a
changed .proto and its stubs always land together.
"""

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
STUBS = ROOT / "core" / "yumen_core" / "rpc" / "v1"


def generate(target: Path) -> None:
    """Write the Python modules and type stubs of every .proto into `target`."""
    with tempfile.TemporaryDirectory() as scratch:
        sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("yumen/v1/*.proto"))
        code = protoc.main(
            [
                *("protoc", f"-I{PROTOS}", f"--python_out={scratch}", f"--pyi_out={scratch}"),
                *(f"--grpc_python_out={scratch}", *sources),
            ]
        )
        if code != 0:
            sys.exit(code)
        target.mkdir(parents=True, exist_ok=True)
        (target / "__init__.py").write_text('"""Generated from protos/yumen/v1; do not edit."""\n')
        for made in sorted(Path(scratch, "yumen", "v1").iterdir()):
            text = made.read_text().replace("from yumen.v1 import", "from yumen_core.rpc.v1 import")
            (target / made.name).write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the stubs are not current")
    if not parser.parse_args().check:
        generate(STUBS)
        return
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        generate(fresh)
        names = {p.name for p in fresh.iterdir()} | {
            p.name for p in STUBS.iterdir() if p.suffix in {".py", ".pyi"}
        }
        stale = sorted(filecmp.cmpfiles(fresh, STUBS, names, shallow=False)[1])
        odd = sorted(n for n in names if not (fresh / n).exists() or not (STUBS / n).exists())
        if stale or odd:
            sys.exit(f"stubs differ from protos/: {', '.join(stale + odd)}; run `make stubs`")


if __name__ == "__main__":
    main()
