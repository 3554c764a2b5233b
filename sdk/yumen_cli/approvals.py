"""`yumen node approvals`: read the code that waits at a node, and say yes or no to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer
from typer.core import TyperArgument, TyperGroup
from yumen_core.errors import CallError

from yumen_cli.failures import short_name
from yumen_cli.operator_acts import leave_at
from yumen_cli.options import AsJson, option
from yumen_cli.plain import command
from yumen_cli.terminal import aligned, clean, emit, say, utc

if TYPE_CHECKING:
    from yumen_core.identity.membership import Membership
    from yumen_node.approvals import Approvals, Held

SHORT_DIGEST_CHARS = 12
_FOLDER_HELP = "The folder of the node."
_HEADER = ("code", "app", "version", "requester", "job", "table", "since (UTC)", "reviews")


class ApprovalsGroup(TyperGroup):
    """A group with an argument of its own, which its help explains."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The list's own options may stand behind the folder, as everywhere else."""
        behind = 1
        while behind < len(args) and args[behind].startswith("-"):
            behind += 1
        return super().parse_args(ctx, [*args[1:behind], *args[:1], *args[behind:]])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, TyperArgument):
                options.append((record[0], record[1].replace("\\[", "[")))
        with formatter.section("Arguments"):
            formatter.write_dl([("DIR", _FOLDER_HELP)])
        with formatter.section("Options"):
            formatter.write_dl(options)
        self.format_commands(ctx, formatter)


app = typer.Typer(
    cls=ApprovalsGroup,
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    subcommand_metavar="[COMMAND] [ARGS]...",
    epilog="\b\nExample:\n  yumen node approvals node\n  yumen node approvals node show 3f2a91c4\n"
    '  yumen node approvals node approve 3f2a91c4 --reason "read, sums only"',
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Digest = Annotated[
    str,
    typer.Argument(
        metavar="DIGEST", help="The code's digest, or its first 8 characters.", show_default=False
    ),
]
Reason = Annotated[
    str,
    typer.Option("--reason", metavar="TEXT", help="Why; a rejection's reason goes to requesters."),
]
Reviewer = Annotated[
    Path | None,
    option(
        "--as", "DIR", "Sign as the user whose identity is in DIR; as the node itself if left out."
    ),
]


@app.callback()
def list_(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help=_FOLDER_HELP, show_default=False)
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="List all code held here, not only what a job waits for.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Code that waits for a review at this node."""
    context.obj = directory
    if context.invoked_subcommand is not None:
        if everything or as_json:
            raise click.UsageError("expected options behind the command, got one before it")
        return
    from yumen_node.approval_card import summary

    with _approvals(directory) as approvals:
        leave_at(directory, "view_approvals")
        found = approvals.held() if everything else approvals.waiting()
    if as_json:
        emit({"code": [summary(one) for one in found]})
    elif found:
        say(aligned(_HEADER, [row for one in found for row in _rows(one)]))
    else:
        say("no code is held here" if everything else "no code waits for a review")


@command(app, "show", example="yumen node approvals node show 3f2a91c4")
def show(context: typer.Context, digest: Digest, as_json: AsJson = False) -> None:
    """Show who wants it, what it reads, what leaves."""
    from yumen_node.approval_card import card, document

    with _approvals(context.obj) as approvals:
        held = approvals.about(approvals.find(digest))
        leave_at(context.obj, "view_code", code=held.digest)
        bundle = approvals.bundle(held.digest)
        previous = approvals.latest_approved(held.name, but=held.digest)
    if as_json:
        emit(document(bundle, held, previous))
        return
    for section in card(bundle, held, previous):
        say(clean(section.heading))
        for line in section.lines:
            say("  " + _line(line))
        say("")


@command(app, "files", example="yumen node approvals node files 3f2a91c4\n"
         "yumen node approvals node files 3f2a91c4 app/client_app.py")  # fmt: skip
def files(
    context: typer.Context,
    digest: Digest,
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH",
            help="The file to print; all are listed if left out.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the code's files, or print one."""
    with _approvals(context.obj) as approvals:
        whole = approvals.find(digest)
        leave_at(context.obj, "view_code", code=whole)
        held = approvals.bundle(whole).files
    if path is None:
        sizes = [(name, len(content)) for name, content in sorted(held.items())]
        if as_json:
            emit({"files": [{"path": name, "bytes": size} for name, size in sizes]})
        else:
            say(aligned(("file", "bytes"), [(name, str(size)) for name, size in sizes]))
        return
    if path not in held:
        raise CallError("argument", f"expected a file of this code, got `{path[:200]}`")
    text = held[path].decode()
    if as_json:
        emit({"path": path, "text": text})
        return
    for line in text.splitlines():
        say(_line(line))


@command(app, "approve", example="yumen node approvals node approve 3f2a91c4 \\\n"
         '    --reason "read all files; only sums leave"')  # fmt: skip
def approve(
    context: typer.Context,
    digest: Digest,
    reason: Reason,
    reviewer: Reviewer = None,
    as_json: AsJson = False,
) -> None:
    """Sign that this code may run here."""
    _give(context.obj, digest, True, reason, reviewer, as_json)


@command(app, "reject", example="yumen node approvals node reject 3f2a91c4 \\\n"
         '    --reason "it opens a socket"')  # fmt: skip
def reject(
    context: typer.Context,
    digest: Digest,
    reason: Reason,
    reviewer: Reviewer = None,
    as_json: AsJson = False,
) -> None:
    """Sign that this code may not run here."""
    _give(context.obj, digest, False, reason, reviewer, as_json)


def _give(
    directory: Path,
    digest: str,
    approved: bool,
    reason: str,
    reviewer: Path | None,
    as_json: bool,
) -> None:
    with _approvals(directory) as approvals:
        whole = approvals.find(digest)
        by = None if reviewer is None else _member(reviewer)
        leave_at(directory, "review_code", code=whole)
        signed = approvals.give(whole, approved=approved, reason=reason, by=by)
        verdict = approvals.verdict(whole)
    if as_json:
        emit(
            {
                "digest": whole.hex(),
                "approved": approved,
                "reviewer": signed.reviewer.uri,
                "approvers": [one.uri for one in verdict.approvers],
                "rejected": verdict.rejected,
            }
        )
        return
    word = "approved" if approved else "rejected"
    say(f"{word} {whole.hex()} as {signed.reviewer.uri}")
    if verdict.rejected is not None:
        say(f"it does not run here: rejected, {clean(verdict.rejected)}")
    else:
        say(f"approved by {len(verdict.approvers)}; the node's policy says how many are needed")


@contextmanager
def _approvals(directory: Path) -> Iterator[Approvals]:
    from yumen_node.approvals import open_approvals

    approvals = open_approvals(directory)
    try:
        yield approvals
    finally:
        approvals.close()


def _member(directory: Path) -> Membership:
    from yumen_core.clock import SystemClock
    from yumen_core.identity.membership import Membership

    from yumen_cli.client_settings import check_identity

    check_identity(directory)
    return Membership(directory, SystemClock())


def _rows(held: Held) -> Iterator[tuple[str, ...]]:
    """One line for each job that wants it; one without a job for code that none wants."""
    code = (held.digest.hex()[:SHORT_DIGEST_CHARS], held.name[:40], held.version[:20])
    since, reviews = utc(held.since_ms), _reviews(held)
    for ask in held.asks:
        yield (*code, short_name(ask.requester.uri), ask.job_id, ask.table, since, reviews)
    if not held.asks:
        yield (*code, "", "", "", since, reviews)


def _reviews(held: Held) -> str:
    if any(not one.genuine for one in held.reviews):
        return "damaged"
    rejected = [one for one in held.reviews if not one.approved]
    if rejected:
        return f"rejected by {', '.join(short_name(one.reviewer) for one in rejected)}"
    approved = [short_name(one.reviewer) for one in held.reviews if one.fault is None]
    return f"approved by {', '.join(approved)}" if approved else "none"


def _line(text: str) -> str:
    return clean(text.expandtabs(4))
