"""Every rule of the lint, with a policy that breaks it."""

import pytest
from policy_facts import REGISTER, bundle, forbid, permit
from yumen_core.errors import StateError
from yumen_core.policy.engine import PolicyBundle
from yumen_core.policy.lint import MAX_FILES, MAX_POLICIES
from yumen_core.policy.source_text import faults

ACTION = 'action == Yumen::Action::"query"'
WHO = 'principal in Yumen::Organisation::"lzu"'

NOTES = [
    (f"permit ({WHO}, {ACTION}, resource);", "a permit needs the annotation `@id`"),
    (f"@id permit ({WHO}, {ACTION}, resource);", "a permit needs the annotation `@id`"),
    (f'@id("") permit ({WHO}, {ACTION}, resource);', "a permit needs the annotation `@id`"),
    (f'@id("Ab") permit ({WHO}, {ACTION}, resource);', "expected `@id` of lower-case letters"),
    (f'@id("policy3") permit ({WHO}, {ACTION}, resource);', "and not like `policy1`"),
    (
        '@id("a") @remedy("b") forbid (principal, action, resource);',
        "policy `a`: a forbid needs the annotation `@reason_code`",
    ),
    (
        '@id("a") @reason_code("b") forbid (principal, action, resource);',
        "policy `a`: a forbid needs the annotation `@remedy`",
    ),
    (
        '@id("a") @reason_code("b") @remedy(" ") forbid (principal, action, resource);',
        "policy `a`: a forbid needs the annotation `@remedy`",
    ),
    (forbid("true", reason="Bad-Code"), "expected `@reason_code` of lower-case letters"),
    (forbid("true", reason="no_permit"), "the reason code `no_permit` is the engine's own"),
    (
        f'@id("a") @reasoncode("b") permit ({WHO}, {ACTION}, resource);',
        "policy `a`: unknown annotation `@reasoncode`, expected id, reason_code, basis or remedy",
    ),
    (f'@id("a") @basis("{"x" * 401}") permit ({WHO}, {ACTION}, resource);', "one line of at most"),
    (f'@id("a") @basis("x\\ny") permit ({WHO}, {ACTION}, resource);', "expected `@basis` on one"),
    (
        permit("true") + permit("false"),
        "policy `permit`: `@id` is already that of a policy in `own.cedar`",
    ),
    (permit("true", "builtin-expired"), "`@id` is already that of a policy in `builtin.cedar`"),
]

TREES = [
    (forbid("context.participants + 1 > 3"), "arithmetic (`+`) can overflow"),
    (forbid("context.participants - 1 > 3"), "arithmetic (`-`) can overflow"),
    (forbid("-context.participants > 3"), "arithmetic (`-`) can overflow"),
    (forbid("context.participants * 2 > 3"), "arithmetic (`*`) can overflow"),
    (
        forbid("if context.dryRun then context.participants * 2 > 3 else false"),
        "arithmetic (`*`) can overflow",
    ),
    (forbid("[context.participants + 1].contains(3)"), "arithmetic (`+`) can overflow"),
    (
        forbid('context.now.offset(duration("1d")) > datetime("2026-01-01")'),
        "arithmetic (`offset`) can overflow",
    ),
    (
        forbid('context.now.durationSince(datetime("2026-01-01")) > duration("1d")'),
        "arithmetic (`durationSince`) can overflow",
    ),
    (forbid("{a: context.dryRun} == {a: true}"), "the operator `Record` is not supported"),
    (forbid('ip("10.0.0.1").isLoopback()'), "the operator `isLoopback` is not supported"),
    (
        forbid('Yumen::User::"x".name == "y"'),
        "attribute `name` is read from something other than principal, resource or context",
    ),
    (
        forbid('(if context.dryRun then principal else Yumen::User::"x").name == "y"'),
        "attribute `name` is read from something other than",
    ),
    (
        f'@id("a") permit (principal == ?principal, {ACTION}, resource);',
        "templates are not supported",
    ),
    (
        f'@id("a") permit (principal, {ACTION}, resource);',
        "policy `a`: a permit must say who or which table",
    ),
    (
        f'@id("a") permit (principal is Yumen::User, {ACTION}, resource is Yumen::Table);',
        "policy `a`: a permit must say who or which table",
    ),
    (
        f'@id("a") permit (principal, {ACTION}, resource) when {{ context.dryRun }};',
        "a permit must say who or which table",
    ),
    (
        f'@id("a") permit (principal, {ACTION}, resource) unless {{ principal.name == "x" }};',
        "a permit must say who or which table",
    ),
    (f'@id("a") permit ({WHO}, action, resource);', "a permit must name its action"),
]

SCHEMA = [
    (forbid('context.prupose == "x"'), "attribute `prupose` in context for "),
    # Only a training has these.
    (forbid('context.program == "code"'), "attribute `program` in context for "),
    (forbid("context.codeReviewers < 2"), "attribute `codeReviewers` in context for "),
    (forbid("context.purpose == 3"), "the types Long and String are not compatible"),
    (forbid('context.nodeOrganisation == "x"'), "access to optional attribute `nodeOrganisation`"),
    (forbid('context.now > datetime("soon")'), "failed to parse as a datetime value"),
    (forbid("datetime(context.purpose) > context.now"), "non-literal expressions"),
    (
        f'@id("a") permit (principal == Yumen::Robot::"x", {ACTION}, resource);',
        "policy `a`: unrecognized entity type `Yumen::Robot`",
    ),
    (
        f'@id("a") permit ({WHO}, action == Yumen::Action::"download", resource);',
        'policy `a`: unrecognized action `Yumen::Action::"download"`',
    ),
]

TEXT = [
    ("// \u202e hidden\n", "line 1, column 4: hidden character U+202E"),
    ("\n// zero\u200bwidth\n", "line 2, column 8: hidden character U+200B"),
    ("\ufeff", "line 1, column 1: hidden character U+FEFF"),
    ("// \u2066\n", "hidden character U+2066"),
    ("// \U000e0041\n", "hidden character U+E0041"),
    ("// \x1b[31m\n", "hidden character U+001B"),
    ("// \u2028forbid\n", "hidden character U+2028"),
    ("// \u3164\n", "hidden character U+3164"),
    ("// \ue000\n", "hidden character U+E000"),
    (
        forbid('context.purpose == "re\u0455earch"'),
        "the word `re\u0455earch` mixes cyrillic and latin letters",
    ),
    ("// \u0440urpose\n", "the word `\u0440urpose` mixes cyrillic and latin letters"),
    ("// \u03bfne\n", "the word `\u03bfne` mixes greek and latin letters"),
    ("// \uff41b\n", "the word `\uff41b` mixes fullwidth and latin letters"),
    # Spelled as an escape, so that the file itself is plain ASCII.
    (forbid('context.purpose == "x\\u{202e}"'), "policy `forbid`: a text has a hidden character"),
    (forbid('context.purpose like "x\\u{200b}*"'), "a text has a hidden character U+200B"),
    (
        f'@id("a") @basis("\\u{{202e}}") permit ({WHO}, {ACTION}, resource);',
        "policy `a`: a text has a hidden character U+202E",
    ),
    (
        f'@id("a") permit (principal in Yumen::Organisation::"l\\u{{0437}}u", {ACTION}, resource);',
        "mixes cyrillic and latin letters",
    ),
]

SHAPE = [
    ("permit", "does not parse: unexpected end of input"),
    ("allow (principal, action, resource);", "does not parse: "),
    ('@id("a") @id("b") permit (principal, action, resource);', "duplicate annotation: @id"),
    (forbid("(" * 70 + "true" + ")" * 70), "does not parse: brackets nest deeper than 64"),
    # Deep enough to end the process if it reached the parser.
    (forbid("!(" * 60_000 + "true" + ")" * 60_000), "brackets nest deeper than 64"),
    (forbid("[" * 30_000 + "]" * 30_000), "brackets nest deeper than 64"),
    (forbid("if true then " * 9_000 + "true" + " else false" * 9_000), "more than 200 `if`"),
    (forbid(" || ".join(["context.dryRun"] * 2000)), "too many operands in one chain"),
]


@pytest.mark.parametrize(("text", "message"), NOTES + TREES + SCHEMA + TEXT + SHAPE)
def test_a_bad_policy_is_refused(text: str, message: str) -> None:
    with pytest.raises(StateError) as caught:
        bundle(text)
    assert caught.value.code == "policy_invalid"
    assert caught.value.message.startswith("policy file `own.cedar`")
    assert message in caught.value.message


GOOD = [
    "",
    "// 中文注释,全角标点 and Latin; \u00b5g, naïve, R&D; Кириллица; )]} {[(\n",
    permit('context.purpose == "研究2026版" || context.columns.contains("CT影像")'),
    permit('context.purpose like "re*" && ["bfv"].contains(context.suite)'),
    permit('context.now < datetime("2027-01-01T00:00:00Z") && context.expiresInSeconds > -5'),
    permit('context has nodeOrganisation && context.nodeOrganisation == "x"'),
    permit('resource has node && resource.node == "((((\\"((("'),
    permit("if context.dryRun then true else context.aggregates.isEmpty()"),
    f'@id("a") permit ({WHO}, action in [Yumen::Action::"query"], resource);',
    f'@id("a") permit (principal is Yumen::User in Yumen::Organisation::"x", {ACTION}, resource);',
    f'@id("a") permit (principal, {ACTION}, resource == Yumen::Table::"心脏");',
    f'@id("a") permit (principal, {ACTION}, resource) when {{ resource.name like "pub*" }};',
    '@id("a") @reason_code("b") @remedy("c") forbid (principal, action, resource);',
]


@pytest.mark.parametrize("text", GOOD)
def test_a_good_policy_is_put_in_force(text: str) -> None:
    assert bundle(text).digest


def test_limits_of_a_bundle() -> None:
    many = {f"f{number}.cedar": "" for number in range(MAX_FILES)}
    with pytest.raises(StateError, match="policy bundle: expected at most 64 files, got 65"):
        PolicyBundle.from_text(many, purposes=REGISTER)
    text = "".join(permit("true", f"p{number}") for number in range(MAX_POLICIES))
    with pytest.raises(StateError, match="policy bundle: expected at most 1000 policies, got 1006"):
        bundle(text)


def test_a_hidden_character_in_a_file_name_is_refused() -> None:
    with pytest.raises(StateError, match="the file's name has a hidden character U\\+DC80"):
        PolicyBundle.from_text({"a\udc80.cedar": ""})


def test_further_findings_are_counted() -> None:
    with pytest.raises(StateError, match=r"`@id` \(and 2 more\)"):
        bundle(f"permit ({WHO}, {ACTION}, resource);\npermit (principal, {ACTION}, resource);")


def test_faults_have_places() -> None:
    found = [(fault.line, fault.column) for fault in faults("ok\n\u202eab\n c\u0430 d")]
    assert found == [(2, 1), (3, 2)]
