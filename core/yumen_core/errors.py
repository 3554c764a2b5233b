"""The error catalogue and the exception tree.

    YumenError
    ├── CallError      the caller used this library or command wrongly
    ├── PeerError      bytes or words from another party are not acceptable
    ├── StateError     this machine's own files or services are not as they must be
    └── Denied         a policy, or a rule of the gate, said no; carries the denials

One message form everywhere: one sentence, no capital, no full stop, input in backticks, what was
expected and what came. `remedy` is what to do next. Detail that could help an attacker, and data
values, never enter a message: they go to the operator's log.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yumen_core.policy.denial import Denial


@dataclass(frozen=True)
class Kind:
    """How one error code shows on each surface.

    `grpc` is a gRPC status name, `http` an HTTP status, `exit` a process exit code, `remedy` the
    advice given where the raiser had none better.
    """

    grpc: str
    http: int
    exit: int
    remedy: str


# Exit codes, documented in `yumen --help`: 2 wrong call, 3 refused by policy, 4 not authentic,
# 5 not enough nodes or a node lost, 6 deadline passed, 7 unreachable, 8 broken state here.
CATALOGUE: dict[str, Kind] = {
    # The caller's words
    "sql_syntax": Kind("INVALID_ARGUMENT", 400, 2, "correct the statement"),
    "sql_unsupported": Kind("INVALID_ARGUMENT", 400, 2, "change the statement"),
    "sql_unknown_table": Kind("NOT_FOUND", 404, 2, "list the tables with `yumen datasets`"),
    "sql_unknown_column": Kind("NOT_FOUND", 404, 2, "list the columns with `yumen datasets`"),
    "sql_type": Kind("INVALID_ARGUMENT", 400, 2, "change the statement"),
    "sql_too_large": Kind("INVALID_ARGUMENT", 400, 2, "group by fewer or smaller columns"),
    "statistic": Kind("INVALID_ARGUMENT", 400, 2, "correct the call"),
    "training": Kind("INVALID_ARGUMENT", 400, 2, "correct the app, the model or the strategy"),
    "strategy": Kind("INVALID_ARGUMENT", 400, 2, "use a strategy that takes the mean"),
    "bundle": Kind("INVALID_ARGUMENT", 400, 2, "correct the app's folder"),
    "formula": Kind("INVALID_ARGUMENT", 400, 2, "correct the formula"),
    "argument": Kind("INVALID_ARGUMENT", 400, 2, "correct the argument"),
    "privacy": Kind("INVALID_ARGUMENT", 400, 2, "ask in a way whose noise can be bounded"),
    "config": Kind("FAILED_PRECONDITION", 400, 2, "correct the file"),
    "table_declaration": Kind("FAILED_PRECONDITION", 400, 2, "correct the table's declaration"),
    "policy_invalid": Kind("FAILED_PRECONDITION", 400, 2, "correct the policy file"),
    "policy_unsigned": Kind(
        "FAILED_PRECONDITION",
        400,
        2,
        "sign the policies with `yumen policy sign`, or put the earlier files back",
    ),
    # Refusals
    "policy_denied": Kind("PERMISSION_DENIED", 403, 3, "change the job as the denial says"),
    "job_denied": Kind("PERMISSION_DENIED", 403, 3, "change the job as the denials say"),
    "budget_exhausted": Kind(
        "RESOURCE_EXHAUSTED", 403, 3, "ask for less privacy budget, or ask the institution for more"
    ),
    "participant_set": Kind(
        "PERMISSION_DENIED", 403, 3, "ask the same nodes as before, or wait until the rows change"
    ),
    "refusals": Kind("RESOURCE_EXHAUSTED", 403, 3, "ask again after 24 hours"),
    "role": Kind("PERMISSION_DENIED", 403, 3, "use an identity with the role that is needed"),
    "code_rejected": Kind("PERMISSION_DENIED", 403, 3, "ask the node's operator what would pass"),
    # Authenticity
    "audit": Kind("UNAUTHENTICATED", 401, 4, "keep the files as they are and ask the log's owner"),
    "log_proof": Kind("UNAUTHENTICATED", 401, 4, "ask the party whose log it is for the proof"),
    "certificate": Kind("UNAUTHENTICATED", 401, 4, "enrol again with a new token"),
    "certificate_revoked": Kind("UNAUTHENTICATED", 401, 4, "ask the federation authority"),
    "revocations": Kind("UNAUTHENTICATED", 401, 4, "check that the authority is running"),
    "token": Kind("UNAUTHENTICATED", 401, 4, "ask the federation authority for a new token"),
    "rate_limited": Kind("RESOURCE_EXHAUSTED", 429, 6, "wait a minute and try again"),
    "signature": Kind("UNAUTHENTICATED", 401, 4, "sign the job again and send it once"),
    "identity": Kind("UNAUTHENTICATED", 401, 4, "use the identity that the certificate names"),
    "descriptor": Kind("UNAUTHENTICATED", 401, 4, "ask for the catalogue again"),
    "replay": Kind("ALREADY_EXISTS", 409, 4, "submit a new job with a new id"),
    "sealed": Kind("UNAUTHENTICATED", 401, 4, "seal the payload to the node's current key"),
    "job_spec": Kind("INVALID_ARGUMENT", 400, 4, "build the job with the current SDK"),
    "job_expired": Kind("DEADLINE_EXCEEDED", 410, 6, "submit the job again"),
    "job_ended": Kind("FAILED_PRECONDITION", 409, 6, "see why it ended with `yumen jobs`"),
    "job_unknown": Kind("NOT_FOUND", 404, 2, "list the jobs with `yumen jobs`"),
    # Running
    "insufficient_nodes": Kind("FAILED_PRECONDITION", 409, 5, "lower min_nodes or wait for nodes"),
    "too_few_rows": Kind("FAILED_PRECONDITION", 409, 3, "ask with fewer variables or levels"),
    "near_release": Kind(
        "FAILED_PRECONDITION",
        409,
        3,
        "ask about the same rows at the same nodes as before, or about rows that differ by more",
    ),
    "data_values": Kind("FAILED_PRECONDITION", 409, 3, "leave such rows out with where="),
    "no_convergence": Kind("FAILED_PRECONDITION", 409, 8, "simplify the model"),
    "node_lost": Kind("UNAVAILABLE", 503, 5, "submit the job again when the node is back"),
    "input_missing": Kind(
        "FAILED_PRECONDITION", 409, 6, "bring the input of the run, then start it"
    ),
    "round": Kind("FAILED_PRECONDITION", 409, 4, "submit a new job"),
    "ciphertext": Kind("INVALID_ARGUMENT", 400, 4, "check the node's software version"),
    "headroom": Kind("DATA_LOSS", 502, 4, "do not use this result; report it to the federation"),
    "payload_too_large": Kind("RESOURCE_EXHAUSTED", 413, 2, "send less in one job"),
    "deadline": Kind("DEADLINE_EXCEEDED", 504, 6, "try again later"),
    "cancelled": Kind("CANCELLED", 409, 6, "submit the job again"),
    "unreachable": Kind("UNAVAILABLE", 503, 7, "check the address and that the service runs"),
    "failed": Kind("INTERNAL", 500, 8, "see the log of the party the message names"),
    # This machine's own state
    "log_corrupt": Kind("DATA_LOSS", 500, 8, "keep the directory as it is and call the auditor"),
    "log_fork": Kind("DATA_LOSS", 500, 8, "keep the directory as it is and call the auditor"),
    "log_closed": Kind("FAILED_PRECONDITION", 500, 8, "restart the process"),
    "state": Kind("FAILED_PRECONDITION", 500, 8, "restore the file from a backup"),
    "sandbox": Kind(
        "FAILED_PRECONDITION", 500, 8, "see `yumen node approvals` and docs/training.md"
    ),
    "data_source": Kind("FAILED_PRECONDITION", 500, 8, "correct the source or its declaration"),
}

BY_ROWS = frozenset({"too_few_rows", "data_values", "near_release"})
"""Refusals that follow from a node's rows: each answers a question about them."""


class YumenError(Exception):
    """Base of every error that reaches a person.

    Parameters: `code` is a key of `CATALOGUE`; `message` one sentence as in the module's text;
    `node` who raised it, where that is another party; `remedy` what to do, by default the
    catalogue's.
    """

    def __init__(
        self, code: str, message: str, *, node: str | None = None, remedy: str | None = None
    ) -> None:
        self.kind = CATALOGUE[code]
        self.code = code
        self.message = message
        self.node = node
        self.remedy = remedy if remedy is not None else self.kind.remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        """The sentence as a log or a terminal may show it: words of a peer cannot steer either."""
        where = f" (at {self.node})" if self.node else ""
        return _visible(f"{self.message}{where}; {self.remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.code, self.message, self.node, self.remedy))


def _visible(text: str) -> str:
    """`text` with control, direction and line characters spelled out, as `\\u202e`."""
    if text.isprintable():
        return text
    return "".join(
        char
        if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def _rebuild(
    kind: type[YumenError], code: str, message: str, node: str | None, remedy: str
) -> YumenError:
    return kind(code, message, node=node, remedy=remedy)


class CallError(YumenError):
    """The caller used this library or command wrongly."""


class PeerError(YumenError):
    """Another party sent something that is not acceptable."""


class StateError(YumenError):
    """This machine's own files or services are not as they must be."""


class Denied(YumenError):
    """A policy, or a rule of the gate, said no. `denials` holds each refusal, never empty."""

    def __init__(
        self, message: str, denials: Sequence[Denial], *, code: str = "job_denied"
    ) -> None:
        if not denials:
            raise ValueError("a refusal needs at least one denial")
        self.denials: tuple[Denial, ...] = tuple(denials)
        super().__init__(code, message, remedy=denials[0].remedy)
