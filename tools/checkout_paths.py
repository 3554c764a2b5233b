"""Put the checkout's package folders on the environment's path, as `make` does after installing.

An editable install finds packages by a hook that comes after the path. A clone in a folder named
`yumen` would hide the package from a script that runs in the folder above; a path entry does not.
"""

import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("core", "sdk", "node", "coordinator")


def main() -> None:
    target = Path(sysconfig.get_path("purelib")) / "yumen-checkout.pth"
    target.write_text("".join(f"{ROOT / folder}\n" for folder in FOLDERS), encoding="utf-8")


if __name__ == "__main__":
    main()
