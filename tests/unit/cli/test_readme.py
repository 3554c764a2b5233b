"""What the README says of the command line is what the command line says of itself."""

from __future__ import annotations

import re
from pathlib import Path

from yumen_cli.failures import EXIT_CODES

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_exit_codes() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", README, flags=re.MULTILINE)
    assert [(int(code), meaning) for code, meaning in rows] == list(EXIT_CODES)


def test_every_folder_of_the_layout_exists() -> None:
    layout = README.partition("## Layout")[2].split("```")[1]
    folders = re.findall(r"^(\S+/) ", layout, flags=re.MULTILINE)
    assert len(folders) > 8
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []
