"""`yumen policy`: check policies before they are in force, and see what a draft would change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from yumen_core.errors import CallError, StateError

from yumen_cli.failures import EXIT_NOT_HELD, EXIT_USAGE, short_name
from yumen_cli.operator_acts import leave_at, leave_for
from yumen_cli.options import AsJson, option
from yumen_cli.plain import command, group
from yumen_cli.terminal import aligned, clean, emit, say, utc

if TYPE_CHECKING:
    from yumen_core.policy import PolicyRequest
    from yumen_core.policy.changes import BundleChanges
    from yumen_core.policy.denial import Denial
    from yumen_core.policy.replay import Flip, Replay

app = group("Policies: check, test, explain, compare, replay and sign them.")

Policies = Annotated[
    Path,
    typer.Argument(metavar="POLICIES", help="A folder of policies, or one .cedar file."),
]
LogFolder = Annotated[
    Path | None, option("--log", "DIR", "The folder of the log whose decisions are taken.")
]
_CASES_HELP = "The cases, YAML; if left out, those that lie with the policies."
Cases = Annotated[Path | None, option("--cases", "FILE", _CASES_HELP)]
Since = Annotated[str | None, option("--since", "DATE", "Only decisions from this day on.")]


@command(app, "lint", example="yumen policy lint policies/hospital.cedar")
def lint(path: Policies, as_json: AsJson = False) -> None:
    """Say all that keeps policies from coming into force."""
    from yumen_core.policy.engine import policy_findings

    from yumen_cli import policy_files

    files, _ = policy_files.policy_files(path)
    rows = [(one.file, one.policy_id, one.reason) for one in policy_findings(files)]
    if not rows:
        try:  # the register and the copy of the schema
            bundle = policy_files.load_bundle(path)
        except StateError as error:
            rows = [("", "", error.message)]
    if as_json:
        names = ("file", "policy", "reason")
        emit({"findings": [dict(zip(names, row, strict=True)) for row in rows]})
    elif rows:
        say(aligned(("file", "policy", "reason"), rows))
    else:
        count = sum(policy.file != "builtin.cedar" for policy in bundle.policies)
        say(f"{count} policies in {len(files)} files are fit; digest {bundle.digest.hex()}")
    if rows:
        raise typer.Exit(EXIT_USAGE)


@command(app, "test", example="yumen policy test policies/hospital.cedar")
def try_cases(
    path: Policies,
    cases: Annotated[
        Path | None,
        typer.Argument(metavar="CASES", help=_CASES_HELP, show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try a table of jobs that must be allowed or denied."""
    from yumen_core.policy.cases import run_cases
    from yumen_core.policy.replay import reasons

    from yumen_cli import policy_files

    found = run_cases(policy_files.load_bundle(path), policy_files.load_cases(path, cases))
    rows = [
        (
            "ok" if one.held else "FAILED",
            one.case.name,
            _expected(one.case.allow, one.case.because),
            f"{_verb(one.word.allowed)}: {reasons(one.word)}",
        )
        for one in found
    ]
    failed = sum(not one.held for one in found)
    if as_json:
        names = ("held", "case", "expected", "got")
        emit({"cases": [dict(zip(names, row, strict=True)) for row in rows], "failed": failed})
    else:
        say(aligned(("", "case", "expected", "got"), rows))
        say(f"\n{len(found)} cases, {failed} failed")
    if failed:
        raise typer.Exit(EXIT_NOT_HELD)


@command(app, "explain", example="yumen policy explain policies/hospital.cedar --case 'exact age'\n"
         "yumen policy explain node/policies --log node/log --job JOB")  # fmt: skip
def explain(
    path: Policies,
    case: Annotated[str | None, option("--case", "NAME", "The case to explain.")] = None,
    cases: Cases = None,
    log: LogFolder = None,
    job: Annotated[str | None, option("--job", "ID", "The job of the log to explain.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which clause of which permit fails, and what would pass.

    For those who may read the policies: a requester is told reason code and remedy.
    """
    from yumen_cli import policy_files, policy_report

    if (case is None) == (log is None) or (log is None) != (job is None):
        raise CallError("argument", "expected --case NAME, or --log DIR with --job ID")
    bundle = policy_files.load_bundle(path)
    leave_for(path, log, act="view_policy", job=job or "", policies=bundle.digest)
    if log is not None and job is not None:
        requests = policy_files.decision_of(log, job).requests
    else:
        found = [one for one in policy_files.load_cases(path, cases) if one.name == case]
        if not found:
            known = ", ".join(f"`{one.name}`" for one in policy_files.load_cases(path, cases))
            raise CallError(
                "argument",
                f"expected a case of the table, got `{case}`",
                remedy=f"give one of {known}",
            )
        requests = (found[0].request,)
    explained = [policy_report.explained(bundle, request) for request in requests]
    if as_json:
        emit({"tables": [one.document() for one in explained]})
        return
    for one in explained:
        for line in one.lines():
            say(clean(line))


@command(app, "diff", example="yumen policy diff node/policies draft --log node/log")
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The policies as they are.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The policies as they would be.")],
    cases: Cases = None,
    log: LogFolder = None,
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Compare two bundles by meaning, and by the decisions that flip between them."""
    from yumen_core.policy.changes import bundle_changes
    from yumen_core.policy.replay import decide_all, reasons

    from yumen_cli import policy_files

    before, after = policy_files.load_bundle(old), policy_files.load_bundle(new)
    leave_for(old, new, log, act="replay_log" if log else "view_policy", policies=after.digest)
    jobs: list[tuple[str, tuple[PolicyRequest, ...]]] = []
    beside = [path for path in (new, old) if policy_files.cases_beside(path).exists()]
    if cases is not None or beside:
        tried = policy_files.load_cases(new if cases else beside[0], cases)
        jobs += [(one.name, (one.request,)) for one in tried]
    if log is not None:
        past = policy_files.load_decisions(log, since)
        jobs += [(one.job, one.requests) for one in past if one.requests]
    rows = []
    for name, requests in jobs:
        was, now = decide_all(before, requests), decide_all(after, requests)
        if was.allowed != now.allowed:
            rows.append((name, f"{_verb(was.allowed)}: {reasons(was)}",
                         f"{_verb(now.allowed)}: {reasons(now)}"))  # fmt: skip
    changes = bundle_changes(before, after)
    if as_json:
        names = ("job", "old", "new")
        flips = [dict(zip(names, row, strict=True)) for row in rows]
        emit({**_change_lists(changes), "decided": len(jobs), "flips": flips})
        return
    for name, ids in _change_lists(changes).items():
        if ids:
            say(f"{name.replace('_', ' ')}: {', '.join(ids)}")
    if not changes:
        say("the two say the same")
    if jobs:
        say(f"{len(rows)} of {len(jobs)} decisions flip")
    if rows:
        say(aligned(("job", "old", "new"), rows))


@command(app, "replay", example="yumen policy replay draft --log node/log --since 2026-06-01")
def replay(
    path: Policies,
    log: Annotated[
        Path, typer.Option("--log", metavar="DIR", help="The folder of the log, such as node/log.")
    ],
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Run a draft over the jobs in a log and list the decisions that would flip."""
    from yumen_core.policy.replay import replay as run

    from yumen_cli import policy_files

    draft = policy_files.load_bundle(path)
    leave_for(log, act="replay_log", policies=draft.digest)
    found = run(draft, policy_files.load_decisions(log, since))
    if as_json:
        emit(_replay_document(found))
        return
    say(f"{found.same} decisions stay, {len(found.flips)} would flip")
    if found.at_gate:
        say(f"{found.at_gate} were refused before policies were asked")
    if found.too_long:
        say(f"{found.too_long} hold too many facts to decide again")
    if found.flips:
        header = ("job", "time (UTC)", "requester", "table", "purpose", "was", "would be")
        say("\n" + aligned(header, [_flip_row(flip) for flip in found.flips]))


@command(app, "sign", example='yumen policy sign node --as ~/wang --note "read with the committee"')
def sign(
    node: Annotated[Path, typer.Argument(metavar="NODE", help="The node's folder.")],
    signer: Annotated[
        Path, typer.Option("--as", metavar="DIR", help="The signer's identity folder.")
    ],
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="Why, one line; goes into the log.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Sign that a node's policies, as its files are now, come into force there."""
    from yumen_core.clock import SystemClock
    from yumen_core.identity.membership import Membership
    from yumen_core.policy import PolicyBundle
    from yumen_node.activation import sign_activation
    from yumen_node.config import load_config

    from yumen_cli.client_settings import check_identity

    config = load_config(node)
    bundle = PolicyBundle.load(config.policies, purposes=config.purposes)
    check_identity(signer)
    by = Membership(signer, SystemClock())
    here = Membership(config.identity, SystemClock()).identity
    leave_at(node, "sign_policy", policies=bundle.digest)
    file = sign_activation(bundle, node=here, state=config.state, by=by, note=note)
    if as_json:
        emit({"digest": bundle.digest.hex(), "signer": by.identity.uri, "file": str(file)})
        return
    say(f"signed policies {bundle.digest.hex()} as {by.identity.uri}")
    say(f"the node asks for {config.policy_signers}; start it again to bring them into force")


def _verb(allowed: bool) -> str:
    return "allow" if allowed else "deny"


def _expected(allow: bool, because: str) -> str:
    return f"{_verb(allow)}: {because}" if because else _verb(allow)


def _change_lists(changes: BundleChanges) -> dict[str, list[str]]:
    return {
        "added": list(changes.added),
        "removed": list(changes.removed),
        "changed": list(changes.changed),
        "purposes_added": list(changes.purposes_added),
        "purposes_removed": list(changes.purposes_removed),
    }


def _flip_row(flip: Flip) -> tuple[str, ...]:
    from yumen_core.policy.replay import reasons

    past = flip.decision
    subject = past.subject
    return (
        past.job,
        utc(past.time_ms),
        short_name(subject.get("requester", "")),
        subject.get("table", ""),
        subject.get("purpose", ""),
        _verb(past.accepted),
        f"{_verb(flip.word.allowed)}: {reasons(flip.word)}",
    )


def _replay_document(found: Replay) -> dict[str, object]:
    flips = [
        {
            "job": flip.decision.job,
            "index": flip.decision.index,
            "time": utc(flip.decision.time_ms),
            "subject": dict(flip.decision.subject),
            "was": _verb(flip.decision.accepted),
            "would_be": _verb(flip.word.allowed),
            "policies": list(flip.word.policy_ids),
            "denials": _denials(flip.word.denials),
        }
        for flip in found.flips
    ]
    counts = {"same": found.same, "at_gate": found.at_gate, "too_long": found.too_long}
    return {**counts, "flips": flips}


def _denials(denials: tuple[Denial, ...]) -> list[object]:
    return [denial.to_json() for denial in denials]
