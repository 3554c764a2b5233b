"""What a policy file must be before it is put in force.

Cedar skips a policy that fails while it is evaluated, a forbid too, which would open what the
forbid closes (https://docs.cedarpolicy.com/auth/authorization.html). The engine refuses every
decision with such an error; these rules keep the errors from arising at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cedarpy

from yumen_core.policy.source_text import faults
from yumen_core.policy.syntax import ParsedPolicy, PolicySyntaxError, parse

MAX_FILES = 64
MAX_FILE_CHARS = 256 * 1024
MAX_POLICIES = 1000
MAX_ANNOTATION_CHARS = 400

# Reason codes of the engine itself; a policy may not borrow them.
RESERVED_REASONS = frozenset({"no_permit", "policy_error", "policy_request"})

_ANNOTATIONS = frozenset({"id", "reason_code", "basis", "remedy"})
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_POSITIONAL_ID = re.compile(r"policy[0-9]+", re.ASCII)
_ARITHMETIC = {"+": "+", "-": "-", "*": "*", "neg": "-"}
_ARITHMETIC |= {"offset": "offset", "durationSince": "durationSince"}
# An operator that is not here is refused until its run-time errors have been studied.
_OPERATORS = frozenset({"Value", "Var", "Set", "if-then-else", "!", "&&", "||", "==", "!="})
_OPERATORS |= {"<", "<=", ">", ">=", "in", "is", "has", ".", "like"}
_OPERATORS |= {"contains", "containsAll", "containsAny", "isEmpty"}
_OPERATORS |= {"datetime", "duration", "toDate", "toTime", "toDays", "toHours", "toMinutes"}
_OPERATORS |= {"toSeconds", "toMilliseconds", "decimal", "lessThan", "lessThanOrEqual"}
_OPERATORS |= {"greaterThan", "greaterThanOrEqual"}


@dataclass(frozen=True)
class Finding:
    """Why a policy may not be put in force.

    `policy_id` is empty where it is about the whole file, `file` too where it is about all files.
    """

    file: str
    policy_id: str
    reason: str

    def __str__(self) -> str:
        policy = f", policy `{self.policy_id}`" if self.policy_id else ""
        where = f"policy file `{self.file}`" if self.file else "policy bundle"
        return f"{where}{policy}: {self.reason}"


def lint(texts: Mapping[str, str], schema: cedarpy.Schema) -> tuple[Finding, ...]:
    """Check the policy files `texts` (name to text), all of one bundle; empty where all is well.

    1. The amount is within the limits.
    2. No hidden character and no word of mixed scripts, comments included.
    3. Each file parses, and every policy in it validates against `schema`: known entities,
       actions and attributes, of the right types, optional ones behind `has`.
    4. Annotations: `@id` everywhere, once in the bundle; `@reason_code` and `@remedy` on forbids.
    5. No template, no arithmetic, and attributes of principal, resource and context only.
    6. A permit names its action, and whom or which table it is about.
    """
    # 1. Limits
    if len(texts) > MAX_FILES:
        return (Finding("", "", f"expected at most {MAX_FILES} files, got {len(texts)}"),)
    found: list[Finding] = []
    policies: list[ParsedPolicy] = []
    for file, text in texts.items():
        # 2. and 3. A file that is unreadable is not looked into any further.
        broken = list(_file_findings(file, text))
        if not broken:
            parsed = parse(text, file)
            broken = list(_schema_findings(file, text, schema))
            policies.extend(parsed)
        found.extend(broken)
    if len(policies) > MAX_POLICIES:
        reason = f"expected at most {MAX_POLICIES} policies, got {len(policies)}"
        found.append(Finding("", "", reason))
    # 4. to 6. Each policy's own rules
    seen: dict[str, str] = {}
    for policy in policies:
        reasons = [*_annotation_reasons(policy), *_tree_reasons(policy), *_permit_reasons(policy)]
        if policy.id in seen:
            reasons.append(f"`@id` is already that of a policy in `{seen[policy.id]}`")
        seen.setdefault(policy.id, policy.file)
        found.extend(Finding(policy.file, policy.id, reason) for reason in reasons)
    return tuple(found)


def _file_findings(file: str, text: str) -> Iterator[Finding]:
    if len(text) > MAX_FILE_CHARS:
        yield Finding(file, "", f"expected at most {MAX_FILE_CHARS} characters, got {len(text)}")
        return
    for fault in faults(file):
        yield Finding(ascii(file), "", f"the file's name has a {fault.reason}")
    for fault in faults(text):
        yield Finding(file, "", f"line {fault.line}, column {fault.column}: {fault.reason}")
    try:
        for policy in parse(text, file):
            # An escape in a string hides from the check of the file's own text.
            for literal in _texts(policy):
                for fault in faults(literal):
                    yield Finding(file, policy.id, f"a text has a {fault.reason}")
    except PolicySyntaxError as error:
        yield Finding(file, "", f"does not parse: {error}")


def _schema_findings(file: str, text: str, schema: cedarpy.Schema) -> Iterator[Finding]:
    result = cedarpy.validate_policies(text, schema)
    if result.validation_passed and not result.errors:
        return
    named = result.id_annotations_by_policy_id
    for error in result.errors:
        reason = str(error.error).removeprefix(f"for policy `{error.policy_id}`, ")
        yield Finding(file, named.get(error.policy_id) or error.policy_id, reason)
    if not result.errors:
        yield Finding(file, "", "does not fit the schema")


def _texts(policy: ParsedPolicy) -> Iterator[str]:
    yield from policy.annotations.values()
    for scope in ("principal", "action", "resource"):
        yield from _entity_ids(policy.tree[scope])
    for item in policy.expressions():
        if item.operator == "Value":
            yield from _entity_ids(item.body)
        elif item.operator == "like":
            parts = (part.get("Literal", "") for part in item.body["pattern"] if part != "Wildcard")
            yield "".join(parts)
        elif item.operator in (".", "has"):
            yield item.body["attr"]


def _entity_ids(value: Any) -> Iterator[str]:
    """The texts inside a literal or a scope."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _entity_ids(part)


def _annotation_reasons(policy: ParsedPolicy) -> Iterator[str]:
    notes = policy.annotations
    required = ("id", "reason_code", "remedy") if policy.is_forbid else ("id",)
    for name in required:
        if not notes.get(name, "").strip():
            yield f"a {policy.effect} needs the annotation `@{name}`"
    for name in sorted(notes.keys() - _ANNOTATIONS):
        yield f"unknown annotation `@{name}`, expected id, reason_code, basis or remedy"
    for name, value in notes.items():
        if len(value) > MAX_ANNOTATION_CHARS or "\n" in value:
            yield f"expected `@{name}` on one line of at most {MAX_ANNOTATION_CHARS} characters"
    name = notes.get("id", "")
    # The engine's own names for policies must not be taken.
    if name and (not _ID.fullmatch(name) or _POSITIONAL_ID.fullmatch(name)):
        yield "expected `@id` of lower-case letters, digits and hyphens, and not like `policy1`"
    code = notes.get("reason_code", "")
    if code and not _REASON.fullmatch(code):
        yield f"expected `@reason_code` of lower-case letters, digits and `_`, got `{code}`"
    if code in RESERVED_REASONS:
        yield f"the reason code `{code}` is the engine's own"


def _tree_reasons(policy: ParsedPolicy) -> Iterator[str]:
    if policy.is_template:
        yield "templates are not supported; name the principal and the resource"
        return
    for item in policy.expressions():
        if item.operator in _ARITHMETIC:
            sign = _ARITHMETIC[item.operator]
            yield f"arithmetic (`{sign}`) can overflow while it is evaluated; compare plain values"
        elif item.operator not in _OPERATORS:
            yield f"the operator `{item.operator}` is not supported"
        elif item.operator == "." and not _is_rooted(item.body["left"]):
            attribute = item.body["attr"]
            yield (
                f"attribute `{attribute}` is read from something other than principal, resource"
                " or context, which may not exist"
            )


def _is_rooted(expression: Mapping[str, Any]) -> bool:
    """Whether an attribute's owner is a variable, or an attribute of one."""
    while "." in expression:
        expression = expression["."]["left"]
    return "Var" in expression


def _permit_reasons(policy: ParsedPolicy) -> Iterator[str]:
    if policy.is_forbid or policy.is_template:
        return
    if policy.tree["action"]["op"] == "All":
        yield "a permit must name its action, so that it permits no later one unseen"
    if not (_constrains(policy.tree["principal"]) or _constrains(policy.tree["resource"])):
        named = {
            item.body
            for item in policy.expressions("when")
            if item.operator == "Var" and item.body != "context"
        }
        if not named & {"principal", "resource"}:
            yield "a permit must say who or which table, in its scope or in a `when` clause"


def _constrains(scope: Mapping[str, Any]) -> bool:
    """Whether a scope picks entities; `is` alone picks all there are of the one type."""
    return scope["op"] in ("==", "in") or (scope["op"] == "is" and "in" in scope)


def first_and_count(findings: Sequence[Finding]) -> str:
    """One sentence: the first finding, and how many more there are."""
    more = len(findings) - 1
    return f"{findings[0]}" + (f" (and {more} more)" if more else "")
