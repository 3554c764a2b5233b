"""A requester's code as it is approved and sent: the text files of a Flower project.

What an operator approves is the digest; so one folder has one byte form, every byte of it is text
that a person can read, and nothing outside it is taken along. Reading runs none of the code.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from google.protobuf.message import DecodeError

from yumen_core.errors import CallError, PeerError
from yumen_core.policy import source_text
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training import project
from yumen_core.training.app_config import AppConfig, read_app_config
from yumen_core.training.source import check_object, parse_source

MAX_FILES = 200
MAX_BYTES = 1 << 20
MAX_PATH_CHARS = 200
MAX_SOURCE_BYTES = 128 << 10
"""Of one Python file: a syntax tree takes up to a thousand times its text."""
_MAX_WIRE_BYTES = MAX_BYTES + MAX_FILES * (MAX_PATH_CHARS + 32)
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*", re.ASCII)


@dataclass(frozen=True, eq=False)
class Bundle:
    """The files of a Flower project by relative path, sorted.

    A `Bundle` that exists is valid: 1. at most `MAX_FILES` files and `MAX_BYTES` in all; 2. each
    path is relative, of letters, digits and `_.-/`, none hidden, no file is a folder of another;
    3. each file is UTF-8 without NUL, hidden characters or words of mixed scripts; 4. each `.py`
    has at most `MAX_SOURCE_BYTES` and parses; 5. `pyproject.toml` has Flower's sections; 6. both
    components are in the files. Raises `CallError` (`bundle`).
    """

    files: Mapping[str, bytes]

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", dict(sorted(self.files.items())))
        size = sum(len(content) for content in self.files.values())
        if len(self.files) > MAX_FILES or size > MAX_BYTES:
            raise _bad(
                f"expected at most {MAX_FILES} files of {MAX_BYTES} bytes in all, "
                f"got {len(self.files)} of {size}"
            )
        _check_paths(self.files)
        for path, content in self.files.items():
            _check_text(path, content)
        for path in self.files:
            if path.endswith(".py"):
                if len(self.files[path]) > MAX_SOURCE_BYTES:
                    raise _bad(
                        f"expected at most {MAX_SOURCE_BYTES} bytes of Python in `{path}`, "
                        f"got {len(self.files[path])}"
                    )
                parse_source(path, self.text(path))
        for component in (self.app.serverapp, self.app.clientapp):
            self._check_component(component)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bundle) and self.files == other.files

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Bundle({self.app.name!r}, {len(self.files)} files, {self.digest.hex()[:16]})"

    @classmethod
    def from_folder(cls, path: str | Path) -> Bundle:
        """The project in the folder `path`; which files are taken says `project.read_folder`.
        Raises `CallError` (`bundle`)."""
        return cls(project.read_folder(Path(path), max_files=MAX_FILES, max_bytes=MAX_BYTES))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Bundle:
        """The bundle that another party sent: 1. size, 2. the message, 3. no path twice, 4. all
        that a `Bundle` must hold, 5. the one byte form. Raises `PeerError` (`bundle`)."""
        if len(raw) > _MAX_WIRE_BYTES:
            raise _malformed(f"expected a bundle of at most {_MAX_WIRE_BYTES} bytes, got more")
        try:
            message = training_pb2.Bundle.FromString(raw)
        except DecodeError:
            raise _malformed("expected a bundle, got other bytes") from None
        files = {entry.path: entry.content for entry in message.files}
        if len(files) != len(message.files):
            raise _malformed("expected distinct paths in a bundle, got one twice")
        try:
            bundle = cls(files)
        except CallError as fault:
            raise _malformed(fault.message) from None
        if bundle.to_bytes() != raw:
            raise _malformed("expected a bundle in its canonical form, got another form")
        return bundle

    def to_bytes(self) -> bytes:
        """The message, files sorted by path, in deterministic form."""
        message = training_pb2.Bundle()
        for path, content in self.files.items():
            message.files.append(training_pb2.BundleFile(path=path, content=content))
        return message.SerializeToString(deterministic=True)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of `to_bytes()`: 32 bytes."""
        return hashlib.sha256(self.to_bytes()).digest()

    @cached_property
    def app(self) -> AppConfig:
        """What `pyproject.toml` says of the app."""
        if "pyproject.toml" not in self.files:
            raise _bad("expected a `pyproject.toml` at the top of the app's folder, got none")
        return read_app_config(self.text("pyproject.toml"))

    def text(self, path: str) -> str:
        """The text of a file, `\\n` at line ends."""
        return self.files[path].decode().replace("\r\n", "\n")

    def _check_component(self, component: str) -> None:
        module, _, attribute = component.partition(":")
        stem = module.replace(".", "/")
        path = next((p for p in (f"{stem}.py", f"{stem}/__init__.py") if p in self.files), None)
        if path is None:
            raise _bad(f"expected `{stem}.py` in the app's folder for `{component}`, got no file")
        check_object(path, self.text(path), attribute)


def _check_paths(files: Mapping[str, bytes]) -> None:
    for path in files:
        if len(path) > MAX_PATH_CHARS or not _PATH.fullmatch(path):
            raise _bad(
                f"expected paths of letters, digits and `_.-/`, none hidden, at most "
                f"{MAX_PATH_CHARS} characters, got `{path[:MAX_PATH_CHARS]}`"
            )
        if any(parent.as_posix() in files for parent in Path(path).parents):
            raise _bad(f"expected a file or a folder, got both above `{path}`")


def _check_text(path: str, content: bytes) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _bad(f"expected text in UTF-8 in `{path}`, got other bytes") from None
    if "\0" in text:
        raise _bad(f"expected text in `{path}`, got a binary file")
    # A lone carriage return writes over a line that a terminal has already shown.
    if "\r" in text.replace("\r\n", ""):
        raise _bad(f"expected line ends of one kind in `{path}`, got a lone carriage return")
    fault = next(source_text.faults(text), None)
    if fault is not None:
        raise _bad(
            f"expected text that reads as it runs in `{path}`, "
            f"got at line {fault.line}, column {fault.column}: {fault.reason}"
        )


def _bad(message: str) -> CallError:
    return CallError("bundle", message)


def _malformed(message: str) -> PeerError:
    return PeerError("bundle", message)
