"""The four hospitals of the demo: their files, what each publishes, and what each permits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from yumen_core.errors import CallError, StateError

FEDERATION = "heart.example"
TABLE = "heart"
# Each hospital's node by name, and the organisation it belongs to.
ORGANISATIONS = {
    "cleveland": "clinic-foundation",
    "hungary": "cardiology-institute",
    "switzerland": "university-hospitals",
    "long-beach": "veterans-affairs",
}
CHECKOUT = Path(__file__).resolve().parents[3]
MAX_DECLARATION_BYTES = 256 * 1024


@dataclass(frozen=True)
class Hospital:
    """One hospital: its CSV, its table declaration (YAML) and its policy (Cedar)."""

    name: str
    organisation: str
    data: Path
    declaration: Path
    policy: Path


@dataclass(frozen=True)
class Files:
    """Everything the demo reads from the checkout."""

    hospitals: tuple[Hospital, ...]
    federation_policy: Path
    purposes: Path


def find(data: Path | None) -> Files:
    """The demo's files; `data` is the folder of the CSV files, the checkout's if None.

    Raises `CallError` ("argument") naming the first file that is missing.
    """
    root = CHECKOUT / "examples" / "hospitals"
    folder = (data or root / "data").resolve()
    hospitals = tuple(
        Hospital(
            name=name,
            organisation=organisation,
            data=folder / f"{name}.csv",
            declaration=root / "tables" / f"{name}.yaml",
            policy=root / "policies" / f"{name}.cedar",
        )
        for name, organisation in ORGANISATIONS.items()
    )
    files = Files(
        hospitals,
        federation_policy=CHECKOUT / "policies" / "federation.cedar",
        purposes=CHECKOUT / "policies" / "purposes.yaml",
    )
    wanted = [path for one in hospitals for path in (one.data, one.declaration, one.policy)]
    for path in (*wanted, files.federation_policy, files.purposes):
        if not path.is_file():
            raise CallError(
                "argument",
                f"expected the demo's file `{path}`, got none",
                remedy="run `yumen demo` from a checkout, or name the CSV files' folder with"
                " --data DIR",
            )
    return files


def declare(hospital: Hospital, target: Path) -> Path:
    """The hospital's declaration written to `target`, its source made absolute. Returns `target`.

    Raises `StateError` ("table_declaration") where the declaration has no source to replace.
    """
    text = hospital.declaration.read_text(encoding="utf-8")[:MAX_DECLARATION_BYTES]
    fields = yaml.safe_load(text)
    if not isinstance(fields, dict) or not isinstance(fields.get("source"), dict):
        raise StateError("table_declaration", f"expected a source in `{hospital.declaration}`")
    fields["source"]["path"] = str(hospital.data)
    target.write_text(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))
    return target
