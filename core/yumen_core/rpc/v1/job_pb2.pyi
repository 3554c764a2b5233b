from yumen_core.rpc.v1 import envelope_pb2 as _envelope_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Suite(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SUITE_UNSPECIFIED: _ClassVar[Suite]
    SUITE_BFV: _ClassVar[Suite]
    SUITE_STREAM: _ClassVar[Suite]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_SUBMITTED: _ClassVar[JobState]
    JOB_STATE_DECIDING: _ClassVar[JobState]
    JOB_STATE_AWAITING_APPROVAL: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_DENIED: _ClassVar[JobState]
    JOB_STATE_INSUFFICIENT_NODES: _ClassVar[JobState]
    JOB_STATE_BUDGET_EXHAUSTED: _ClassVar[JobState]
    JOB_STATE_NODE_LOST: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]
    JOB_STATE_EXPIRED: _ClassVar[JobState]

class Round(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUND_UNSPECIFIED: _ClassVar[Round]
    ROUND_SUPPORT: _ClassVar[Round]
    ROUND_SUM: _ClassVar[Round]
SUITE_UNSPECIFIED: Suite
SUITE_BFV: Suite
SUITE_STREAM: Suite
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_SUBMITTED: JobState
JOB_STATE_DECIDING: JobState
JOB_STATE_AWAITING_APPROVAL: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_DENIED: JobState
JOB_STATE_INSUFFICIENT_NODES: JobState
JOB_STATE_BUDGET_EXHAUSTED: JobState
JOB_STATE_NODE_LOST: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
JOB_STATE_EXPIRED: JobState
ROUND_UNSPECIFIED: Round
ROUND_SUPPORT: Round
ROUND_SUM: Round

class NodeDescriptor(_message.Message):
    __slots__ = ("node", "sealing_key", "mask_key", "log_key", "tables", "issued_at_ms", "expires_at_ms", "software", "witness_key")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SEALING_KEY_FIELD_NUMBER: _ClassVar[int]
    MASK_KEY_FIELD_NUMBER: _ClassVar[int]
    LOG_KEY_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    WITNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    node: str
    sealing_key: bytes
    mask_key: bytes
    log_key: str
    tables: _containers.RepeatedCompositeFieldContainer[TableDescriptor]
    issued_at_ms: int
    expires_at_ms: int
    software: str
    witness_key: str
    def __init__(self, node: _Optional[str] = ..., sealing_key: _Optional[bytes] = ..., mask_key: _Optional[bytes] = ..., log_key: _Optional[str] = ..., tables: _Optional[_Iterable[_Union[TableDescriptor, _Mapping]]] = ..., issued_at_ms: _Optional[int] = ..., expires_at_ms: _Optional[int] = ..., software: _Optional[str] = ..., witness_key: _Optional[str] = ...) -> None: ...

class CoordinatorDescriptor(_message.Message):
    __slots__ = ("coordinator", "log_key", "issued_at_ms", "expires_at_ms")
    COORDINATOR_FIELD_NUMBER: _ClassVar[int]
    LOG_KEY_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    coordinator: str
    log_key: str
    issued_at_ms: int
    expires_at_ms: int
    def __init__(self, coordinator: _Optional[str] = ..., log_key: _Optional[str] = ..., issued_at_ms: _Optional[int] = ..., expires_at_ms: _Optional[int] = ...) -> None: ...

class TableDescriptor(_message.Message):
    __slots__ = ("name", "meaning", "schema", "grade", "threshold", "min_nodes", "private_only", "micro_rho", "project_micro_rho", "round_to")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    GRADE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MIN_NODES_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    MICRO_RHO_FIELD_NUMBER: _ClassVar[int]
    PROJECT_MICRO_RHO_FIELD_NUMBER: _ClassVar[int]
    ROUND_TO_FIELD_NUMBER: _ClassVar[int]
    name: str
    meaning: str
    schema: bytes
    grade: str
    threshold: int
    min_nodes: int
    private_only: bool
    micro_rho: int
    project_micro_rho: int
    round_to: int
    def __init__(self, name: _Optional[str] = ..., meaning: _Optional[str] = ..., schema: _Optional[bytes] = ..., grade: _Optional[str] = ..., threshold: _Optional[int] = ..., min_nodes: _Optional[int] = ..., private_only: _Optional[bool] = ..., micro_rho: _Optional[int] = ..., project_micro_rho: _Optional[int] = ..., round_to: _Optional[int] = ...) -> None: ...

class JobSpec(_message.Message):
    __slots__ = ("job_id", "federation", "requester", "purpose", "table", "schema_digest", "query", "statistic", "training", "participants", "min_nodes", "suite", "public_key_digest", "issued_at_ms", "expires_at_ms", "dry_run", "privacy", "project")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    REQUESTER_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    STATISTIC_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    MIN_NODES_FIELD_NUMBER: _ClassVar[int]
    SUITE_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    federation: str
    requester: str
    purpose: str
    table: str
    schema_digest: bytes
    query: SqlQuery
    statistic: Statistic
    training: Training
    participants: _containers.RepeatedCompositeFieldContainer[Participant]
    min_nodes: int
    suite: Suite
    public_key_digest: bytes
    issued_at_ms: int
    expires_at_ms: int
    dry_run: bool
    privacy: Privacy
    project: str
    def __init__(self, job_id: _Optional[str] = ..., federation: _Optional[str] = ..., requester: _Optional[str] = ..., purpose: _Optional[str] = ..., table: _Optional[str] = ..., schema_digest: _Optional[bytes] = ..., query: _Optional[_Union[SqlQuery, _Mapping]] = ..., statistic: _Optional[_Union[Statistic, _Mapping]] = ..., training: _Optional[_Union[Training, _Mapping]] = ..., participants: _Optional[_Iterable[_Union[Participant, _Mapping]]] = ..., min_nodes: _Optional[int] = ..., suite: _Optional[_Union[Suite, str]] = ..., public_key_digest: _Optional[bytes] = ..., issued_at_ms: _Optional[int] = ..., expires_at_ms: _Optional[int] = ..., dry_run: _Optional[bool] = ..., privacy: _Optional[_Union[Privacy, _Mapping]] = ..., project: _Optional[str] = ...) -> None: ...

class Privacy(_message.Message):
    __slots__ = ("micro_rho", "delta")
    MICRO_RHO_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    micro_rho: int
    delta: str
    def __init__(self, micro_rho: _Optional[int] = ..., delta: _Optional[str] = ...) -> None: ...

class SqlQuery(_message.Message):
    __slots__ = ("sql", "plan_digest", "joined")
    SQL_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    sql: str
    plan_digest: bytes
    joined: _containers.RepeatedCompositeFieldContainer[JoinedTable]
    def __init__(self, sql: _Optional[str] = ..., plan_digest: _Optional[bytes] = ..., joined: _Optional[_Iterable[_Union[JoinedTable, _Mapping]]] = ...) -> None: ...

class JoinedTable(_message.Message):
    __slots__ = ("table", "schema_digest")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    table: str
    schema_digest: bytes
    def __init__(self, table: _Optional[str] = ..., schema_digest: _Optional[bytes] = ...) -> None: ...

class Statistic(_message.Message):
    __slots__ = ("body", "plan_digest")
    BODY_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    plan_digest: bytes
    def __init__(self, body: _Optional[bytes] = ..., plan_digest: _Optional[bytes] = ...) -> None: ...

class Training(_message.Message):
    __slots__ = ("body", "plan_digest")
    BODY_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    plan_digest: bytes
    def __init__(self, body: _Optional[bytes] = ..., plan_digest: _Optional[bytes] = ...) -> None: ...

class Participant(_message.Message):
    __slots__ = ("node", "descriptor_digest", "sealed_secret")
    NODE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SEALED_SECRET_FIELD_NUMBER: _ClassVar[int]
    node: str
    descriptor_digest: bytes
    sealed_secret: bytes
    def __init__(self, node: _Optional[str] = ..., descriptor_digest: _Optional[bytes] = ..., sealed_secret: _Optional[bytes] = ...) -> None: ...

class Denial(_message.Message):
    __slots__ = ("node", "reason_code", "message", "policy_id", "policy_digest", "subject", "observed", "allowed", "remedy")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    POLICY_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    node: str
    reason_code: str
    message: str
    policy_id: str
    policy_digest: bytes
    subject: str
    observed: str
    allowed: str
    remedy: str
    def __init__(self, node: _Optional[str] = ..., reason_code: _Optional[str] = ..., message: _Optional[str] = ..., policy_id: _Optional[str] = ..., policy_digest: _Optional[bytes] = ..., subject: _Optional[str] = ..., observed: _Optional[str] = ..., allowed: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("job_id", "spec_digest", "decider", "accepted", "denials", "policy_digest", "log_index", "decided_at_ms", "budgets")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DECIDER_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    DENIALS_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    spec_digest: bytes
    decider: str
    accepted: bool
    denials: _containers.RepeatedCompositeFieldContainer[Denial]
    policy_digest: bytes
    log_index: int
    decided_at_ms: int
    budgets: _containers.RepeatedCompositeFieldContainer[BudgetLeft]
    def __init__(self, job_id: _Optional[str] = ..., spec_digest: _Optional[bytes] = ..., decider: _Optional[str] = ..., accepted: _Optional[bool] = ..., denials: _Optional[_Iterable[_Union[Denial, _Mapping]]] = ..., policy_digest: _Optional[bytes] = ..., log_index: _Optional[int] = ..., decided_at_ms: _Optional[int] = ..., budgets: _Optional[_Iterable[_Union[BudgetLeft, _Mapping]]] = ...) -> None: ...

class BudgetLeft(_message.Message):
    __slots__ = ("table", "project", "micro_rho", "project_micro_rho")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    MICRO_RHO_FIELD_NUMBER: _ClassVar[int]
    PROJECT_MICRO_RHO_FIELD_NUMBER: _ClassVar[int]
    table: str
    project: str
    micro_rho: int
    project_micro_rho: int
    def __init__(self, table: _Optional[str] = ..., project: _Optional[str] = ..., micro_rho: _Optional[int] = ..., project_micro_rho: _Optional[int] = ...) -> None: ...

class LogProof(_message.Message):
    __slots__ = ("entry", "index", "checkpoint", "hashes")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    entry: bytes
    index: int
    checkpoint: bytes
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, entry: _Optional[bytes] = ..., index: _Optional[int] = ..., checkpoint: _Optional[bytes] = ..., hashes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class NodeProof(_message.Message):
    __slots__ = ("node", "proof")
    NODE_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    node: str
    proof: LogProof
    def __init__(self, node: _Optional[str] = ..., proof: _Optional[_Union[LogProof, _Mapping]] = ...) -> None: ...

class JobStatus(_message.Message):
    __slots__ = ("job_id", "state", "reason", "requester", "purpose", "table", "sql", "nodes", "submitted_at_ms", "updated_at_ms", "denials", "code", "method", "run", "round", "awaits_input", "deadline_ms")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUESTER_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DENIALS_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    AWAITS_INPUT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    state: JobState
    reason: str
    requester: str
    purpose: str
    table: str
    sql: str
    nodes: _containers.RepeatedCompositeFieldContainer[NodeProgress]
    submitted_at_ms: int
    updated_at_ms: int
    denials: _containers.RepeatedCompositeFieldContainer[Denial]
    code: str
    method: str
    run: int
    round: str
    awaits_input: bool
    deadline_ms: int
    def __init__(self, job_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., reason: _Optional[str] = ..., requester: _Optional[str] = ..., purpose: _Optional[str] = ..., table: _Optional[str] = ..., sql: _Optional[str] = ..., nodes: _Optional[_Iterable[_Union[NodeProgress, _Mapping]]] = ..., submitted_at_ms: _Optional[int] = ..., updated_at_ms: _Optional[int] = ..., denials: _Optional[_Iterable[_Union[Denial, _Mapping]]] = ..., code: _Optional[str] = ..., method: _Optional[str] = ..., run: _Optional[int] = ..., round: _Optional[str] = ..., awaits_input: _Optional[bool] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class NodeProgress(_message.Message):
    __slots__ = ("node", "step")
    NODE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    node: str
    step: str
    def __init__(self, node: _Optional[str] = ..., step: _Optional[str] = ...) -> None: ...

class SupportShare(_message.Message):
    __slots__ = ("job_id", "spec_digest", "node", "participants_digest", "commitment", "sealed")
    class SealedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_DIGEST_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    spec_digest: bytes
    node: str
    participants_digest: bytes
    commitment: bytes
    sealed: _containers.ScalarMap[str, bytes]
    def __init__(self, job_id: _Optional[str] = ..., spec_digest: _Optional[bytes] = ..., node: _Optional[str] = ..., participants_digest: _Optional[bytes] = ..., commitment: _Optional[bytes] = ..., sealed: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class RoundInput(_message.Message):
    __slots__ = ("job_id", "spec_digest", "run", "round", "sealed", "sealed_digest", "sealed_bytes")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    SEALED_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SEALED_BYTES_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    spec_digest: bytes
    run: int
    round: str
    sealed: bytes
    sealed_digest: bytes
    sealed_bytes: int
    def __init__(self, job_id: _Optional[str] = ..., spec_digest: _Optional[bytes] = ..., run: _Optional[int] = ..., round: _Optional[str] = ..., sealed: _Optional[bytes] = ..., sealed_digest: _Optional[bytes] = ..., sealed_bytes: _Optional[int] = ...) -> None: ...

class Arrays(_message.Message):
    __slots__ = ("arrays",)
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    arrays: _containers.RepeatedCompositeFieldContainer[Array]
    def __init__(self, arrays: _Optional[_Iterable[_Union[Array, _Mapping]]] = ...) -> None: ...

class Array(_message.Message):
    __slots__ = ("name", "shape", "values")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    values: bytes
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., values: _Optional[bytes] = ...) -> None: ...

class RunOutcome(_message.Message):
    __slots__ = ("run", "participants", "decisions", "excluded", "ciphertext_bytes", "ciphertexts", "support_digest", "lost", "proofs")
    RUN_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXTS_FIELD_NUMBER: _ClassVar[int]
    SUPPORT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    PROOFS_FIELD_NUMBER: _ClassVar[int]
    run: int
    participants: _containers.RepeatedScalarFieldContainer[str]
    decisions: _containers.RepeatedCompositeFieldContainer[_envelope_pb2.Envelope]
    excluded: _containers.RepeatedCompositeFieldContainer[Exclusion]
    ciphertext_bytes: int
    ciphertexts: int
    support_digest: bytes
    lost: _containers.RepeatedCompositeFieldContainer[Exclusion]
    proofs: _containers.RepeatedCompositeFieldContainer[NodeProof]
    def __init__(self, run: _Optional[int] = ..., participants: _Optional[_Iterable[str]] = ..., decisions: _Optional[_Iterable[_Union[_envelope_pb2.Envelope, _Mapping]]] = ..., excluded: _Optional[_Iterable[_Union[Exclusion, _Mapping]]] = ..., ciphertext_bytes: _Optional[int] = ..., ciphertexts: _Optional[int] = ..., support_digest: _Optional[bytes] = ..., lost: _Optional[_Iterable[_Union[Exclusion, _Mapping]]] = ..., proofs: _Optional[_Iterable[_Union[NodeProof, _Mapping]]] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("status", "participants", "decisions", "excluded", "ciphertext_bytes", "ciphertexts", "support_digest", "proofs")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXTS_FIELD_NUMBER: _ClassVar[int]
    SUPPORT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROOFS_FIELD_NUMBER: _ClassVar[int]
    status: JobStatus
    participants: _containers.RepeatedScalarFieldContainer[str]
    decisions: _containers.RepeatedCompositeFieldContainer[_envelope_pb2.Envelope]
    excluded: _containers.RepeatedCompositeFieldContainer[Exclusion]
    ciphertext_bytes: int
    ciphertexts: int
    support_digest: bytes
    proofs: _containers.RepeatedCompositeFieldContainer[NodeProof]
    def __init__(self, status: _Optional[_Union[JobStatus, _Mapping]] = ..., participants: _Optional[_Iterable[str]] = ..., decisions: _Optional[_Iterable[_Union[_envelope_pb2.Envelope, _Mapping]]] = ..., excluded: _Optional[_Iterable[_Union[Exclusion, _Mapping]]] = ..., ciphertext_bytes: _Optional[int] = ..., ciphertexts: _Optional[int] = ..., support_digest: _Optional[bytes] = ..., proofs: _Optional[_Iterable[_Union[NodeProof, _Mapping]]] = ...) -> None: ...

class Exclusion(_message.Message):
    __slots__ = ("node", "reason")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    node: str
    reason: str
    def __init__(self, node: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
