"""Policies as syntax trees: what each is called, does, reads and compares with.

The tree is Cedar's JSON policy format (https://docs.cedarpolicy.com/policies/json-format.html).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cedarpy

MAX_NESTING = 64
MAX_IFS = 200

# Strings and comments hold brackets that do not nest.
_NOT_CODE = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*', re.DOTALL)
_IF = re.compile(r"\bif\b")
_BINARY = ("left", "right", "arg", "if", "then", "else", "in")


class PolicySyntaxError(ValueError):
    """The text is not a list of policies; the message says why."""


@dataclass(frozen=True)
class Expression:
    """One node of the tree: an operator or function and its operands, as in the JSON format."""

    operator: str
    body: Any


@dataclass(frozen=True)
class ParsedPolicy:
    """One policy of one file.

    `position` is the policy's number in its file, from 0. `reads` are the context attributes it
    mentions, `numbers` the integers it compares with.
    """

    file: str
    position: int
    effect: str
    annotations: Mapping[str, str]
    tree: Mapping[str, Any]
    is_template: bool = False

    @property
    def id(self) -> str:
        """The `@id`, or the engine's own name for a policy that has none."""
        return self.annotations.get("id") or f"policy{self.position}"

    @property
    def is_forbid(self) -> bool:
        return self.effect == "forbid"

    @property
    def reads(self) -> frozenset[str]:
        found = set()
        for item in self.expressions():
            if item.operator in (".", "has") and item.body["left"] == {"Var": "context"}:
                found.add(str(item.body["attr"]))
        return frozenset(found)

    @property
    def numbers(self) -> frozenset[int]:
        values = (item.body for item in self.expressions() if item.operator == "Value")
        return frozenset(v for v in values if isinstance(v, int) and not isinstance(v, bool))

    def expressions(self, kind: str | None = None) -> Iterator[Expression]:
        """Every node of the conditions; only of `when` or `unless` clauses where `kind` says."""
        for condition in self.tree["conditions"]:
            if kind in (None, condition["kind"]):
                yield from _walk(condition["body"])


def parse(text: str, file: str) -> tuple[ParsedPolicy, ...]:
    """The policies of `text` in order.

    Raises `PolicySyntaxError` for text that does not parse or nests deeper than `MAX_NESTING`:
    the engine's parser descends recursively and deep text would end the process.
    """
    _check_nesting(text)
    try:
        document = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        raise PolicySyntaxError(str(error)) from error
    except RecursionError as error:
        raise PolicySyntaxError("an expression has too many operands in one chain") from error
    found = []
    for key, is_template in (("staticPolicies", False), ("templates", True)):
        for name, tree in document[key].items():
            position = int(name.removeprefix("policy"))
            notes = {key: value or "" for key, value in tree.get("annotations", {}).items()}
            found.append(ParsedPolicy(file, position, tree["effect"], notes, tree, is_template))
    return tuple(sorted(found, key=lambda policy: policy.position))


def _check_nesting(text: str) -> None:
    code = _NOT_CODE.sub("", text)
    depth = 0
    for character in code:
        if character in "([{":
            depth += 1
            if depth > MAX_NESTING:
                raise PolicySyntaxError(f"brackets nest deeper than {MAX_NESTING}")
        elif character in ")]}":
            depth -= 1
    if len(_IF.findall(code)) > MAX_IFS:
        raise PolicySyntaxError(f"more than {MAX_IFS} `if` expressions in one file")


def _walk(root: Mapping[str, Any]) -> Iterator[Expression]:
    """Every node below and with `root`, parents first; a stack, so that depth costs no frames."""
    stack = [root]
    while stack:
        node = stack.pop()
        for operator, body in node.items():
            yield Expression(operator, body)
            stack.extend(_children(operator, body))


def _children(operator: str, body: Any) -> list[Mapping[str, Any]]:
    if operator in ("Value", "Var", "Slot"):
        return []
    if operator == "Record":
        return list(body.values())
    if isinstance(body, list):  # a set, or the arguments of an extension function
        return list(body)
    return [body[key] for key in _BINARY if key in body]
