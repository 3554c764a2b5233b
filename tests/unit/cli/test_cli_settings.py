"""Where the client commands find identity and coordinator."""

from __future__ import annotations

from pathlib import Path

import pytest
from yumen_cli import client_settings as settings
from yumen_core.errors import CallError, StateError


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("YUMEN_IDENTITY", raising=False)
    assert settings.default_directory() == tmp_path / ".config" / "yumen"
    monkeypatch.setenv("YUMEN_IDENTITY", "/elsewhere")
    assert settings.default_directory() == Path("/elsewhere")


def test_the_option_wins_over_the_stored_address(tmp_path: Path) -> None:
    settings.store_coordinator(tmp_path, "127.0.0.1:7401")
    assert settings.coordinator_for(tmp_path, None) == "127.0.0.1:7401"
    assert settings.coordinator_for(tmp_path, "[::1]:9") == "[::1]:9"


def test_no_address_says_three_ways_out(tmp_path: Path) -> None:
    with pytest.raises(CallError) as caught:
        settings.coordinator_for(tmp_path, None)
    assert caught.value.message == "expected the coordinator's address, got none"
    for way in ("--coordinator", "YUMEN_COORDINATOR", "enrol"):
        assert way in caught.value.remedy


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":7401", "host:0", "host:65536", "a b:1", "x" * 90]
)
def test_bad_addresses(address: str) -> None:
    with pytest.raises(CallError) as caught:
        settings.check_address(address)
    shown = address[:80]
    assert caught.value.message == f"expected an address like `host:7401`, got `{shown}`"


@pytest.mark.parametrize(
    "text",
    ["", "coordinator: x", "coordinator: a:1\nother: 2", "[1]", "{", "coordinator: !!python/x 1"],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / settings.FILE_NAME
    path.write_text(text)
    with pytest.raises(StateError) as caught:
        settings.stored_coordinator(tmp_path)
    assert caught.value.message == (
        f"expected the one key `coordinator` with a host:port in `{path}`, got other content"
    )
