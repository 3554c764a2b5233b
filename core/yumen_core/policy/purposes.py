"""The register of purposes: data, not policy; an empty register registers nothing."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from yumen_core.errors import StateError
from yumen_core.policy.source_text import faults

MAX_PURPOSES = 64
MAX_NAME_CHARS = 64
MAX_MEANING_CHARS = 400
MAX_REGISTER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Purpose:
    """A registered purpose; `meaning` is one line for people."""

    name: str
    meaning: str


@dataclass(frozen=True)
class Purposes:
    """Registered purposes, in the register's order. `Purposes()` registers nothing."""

    entries: tuple[Purpose, ...] = ()

    def __contains__(self, name: object) -> bool:
        return any(entry.name == name for entry in self.entries)

    def __iter__(self) -> Iterator[Purpose]:
        return iter(self.entries)

    @classmethod
    def from_text(cls, text: str, *, file: str = "purposes.yaml") -> Purposes:
        """Read the register from YAML: `purposes`, a list of `name` and `meaning`.

        Names match exactly, so they must be NFC, without hidden characters or mixed scripts.
        Raises `StateError` ("policy_invalid") naming the file and the entry.
        """
        if len(text.encode(errors="replace")) > MAX_REGISTER_BYTES:
            raise _invalid(file, f"expected at most {MAX_REGISTER_BYTES} bytes")
        for fault in faults(text):
            raise _invalid(file, f"line {fault.line}, column {fault.column}: {fault.reason}")
        try:
            document = yaml.load(text, Loader=StrictLoader)  # a SafeLoader
        except (yaml.YAMLError, RecursionError) as error:
            raise _invalid(file, _yaml_reason(error)) from error
        if not isinstance(document, dict) or set(document) != {"purposes"}:
            raise _invalid(file, "expected the one key `purposes`")
        entries = document["purposes"]
        if not isinstance(entries, list) or len(entries) > MAX_PURPOSES:
            raise _invalid(file, f"expected `purposes` to be a list of at most {MAX_PURPOSES}")
        register = cls(tuple(_entry(item, n, file) for n, item in enumerate(entries, start=1)))
        names = [entry.name for entry in register]
        for name in names:
            if names.count(name) > 1:
                raise _invalid(file, f"purpose `{name}` is listed twice")
        return register


class StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, where YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            mark = node.start_mark
            raise yaml.constructor.ConstructorError(None, None, "a key is given twice", mark)
        return mapping


def _entry(item: object, number: int, file: str) -> Purpose:
    where = f"entry {number}"
    if not isinstance(item, dict) or set(item) != {"name", "meaning"}:
        raise _invalid(file, f"{where}: expected the keys `name` and `meaning`")
    for key, limit in (("name", MAX_NAME_CHARS), ("meaning", MAX_MEANING_CHARS)):
        value = item[key]
        if not isinstance(value, str) or not value.strip():
            raise _invalid(file, f"{where}: expected `{key}` to be text")
        if len(value) > limit:
            reason = f"{where}: expected `{key}` of at most {limit} characters, got {len(value)}"
            raise _invalid(file, reason)
        # An escape in the YAML (`"\\u202e"`) passes the check of the file's own text.
        for fault in faults(value):
            raise _invalid(file, f"{where}: `{key}` has a {fault.reason}")
    name: str = item["name"]
    if name != unicodedata.normalize("NFC", name) or name != name.strip() or "\n" in name:
        reason = f"{where}: expected `name` on one line, in NFC, without outer space"
        raise _invalid(file, reason)
    return Purpose(name, item["meaning"])


def _yaml_reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return "expected YAML"


def _invalid(file: str, reason: str) -> StateError:
    return StateError("policy_invalid", f"purpose register `{file}`: {reason}")
