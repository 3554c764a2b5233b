from yumen_core.rpc.v1 import envelope_pb2 as _envelope_pb2
from yumen_core.rpc.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeFrame(_message.Message):
    __slots__ = ("hello", "decision", "support", "contribution", "problem", "awaiting", "cosign", "cosigned")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    SUPPORT_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    AWAITING_FIELD_NUMBER: _ClassVar[int]
    COSIGN_FIELD_NUMBER: _ClassVar[int]
    COSIGNED_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    decision: DecisionFrame
    support: SupportFrame
    contribution: ContributionFrame
    problem: Problem
    awaiting: Awaiting
    cosign: CosignRequest
    cosigned: Cosigned
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., decision: _Optional[_Union[DecisionFrame, _Mapping]] = ..., support: _Optional[_Union[SupportFrame, _Mapping]] = ..., contribution: _Optional[_Union[ContributionFrame, _Mapping]] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ..., awaiting: _Optional[_Union[Awaiting, _Mapping]] = ..., cosign: _Optional[_Union[CosignRequest, _Mapping]] = ..., cosigned: _Optional[_Union[Cosigned, _Mapping]] = ...) -> None: ...

class CoordinatorFrame(_message.Message):
    __slots__ = ("welcome", "proposal", "round", "ended", "revocations", "input", "cosign", "cosigned")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    COSIGN_FIELD_NUMBER: _ClassVar[int]
    COSIGNED_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    proposal: Proposal
    round: RoundRequest
    ended: JobEnded
    revocations: RevocationsFrame
    input: InputFrame
    cosign: CosignRequest
    cosigned: Cosigned
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., proposal: _Optional[_Union[Proposal, _Mapping]] = ..., round: _Optional[_Union[RoundRequest, _Mapping]] = ..., ended: _Optional[_Union[JobEnded, _Mapping]] = ..., revocations: _Optional[_Union[RevocationsFrame, _Mapping]] = ..., input: _Optional[_Union[InputFrame, _Mapping]] = ..., cosign: _Optional[_Union[CosignRequest, _Mapping]] = ..., cosigned: _Optional[_Union[Cosigned, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("descriptor",)
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    descriptor: _envelope_pb2.Envelope
    def __init__(self, descriptor: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("coordinator", "now_ms", "revocations", "descriptor")
    COORDINATOR_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    coordinator: str
    now_ms: int
    revocations: bytes
    descriptor: _envelope_pb2.Envelope
    def __init__(self, coordinator: _Optional[str] = ..., now_ms: _Optional[int] = ..., revocations: _Optional[bytes] = ..., descriptor: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ...) -> None: ...

class CosignRequest(_message.Message):
    __slots__ = ("witness", "owner", "descriptor", "old_size", "hashes", "checkpoint")
    WITNESS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    OLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    witness: str
    owner: str
    descriptor: _envelope_pb2.Envelope
    old_size: int
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    checkpoint: bytes
    def __init__(self, witness: _Optional[str] = ..., owner: _Optional[str] = ..., descriptor: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., old_size: _Optional[int] = ..., hashes: _Optional[_Iterable[bytes]] = ..., checkpoint: _Optional[bytes] = ...) -> None: ...

class Cosigned(_message.Message):
    __slots__ = ("witness", "owner", "line", "size", "refusal")
    WITNESS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    witness: str
    owner: str
    line: str
    size: int
    refusal: str
    def __init__(self, witness: _Optional[str] = ..., owner: _Optional[str] = ..., line: _Optional[str] = ..., size: _Optional[int] = ..., refusal: _Optional[str] = ...) -> None: ...

class RevocationsFrame(_message.Message):
    __slots__ = ("revocations",)
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    revocations: bytes
    def __init__(self, revocations: _Optional[bytes] = ...) -> None: ...

class Proposal(_message.Message):
    __slots__ = ("job", "descriptors", "public_key", "bundle")
    JOB_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    job: _envelope_pb2.Envelope
    descriptors: _containers.RepeatedCompositeFieldContainer[_envelope_pb2.Envelope]
    public_key: bytes
    bundle: bytes
    def __init__(self, job: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., descriptors: _Optional[_Iterable[_Union[_envelope_pb2.Envelope, _Mapping]]] = ..., public_key: _Optional[bytes] = ..., bundle: _Optional[bytes] = ...) -> None: ...

class Awaiting(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class DecisionFrame(_message.Message):
    __slots__ = ("decision", "proof")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    decision: _envelope_pb2.Envelope
    proof: _job_pb2.LogProof
    def __init__(self, decision: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., proof: _Optional[_Union[_job_pb2.LogProof, _Mapping]] = ...) -> None: ...

class RoundRequest(_message.Message):
    __slots__ = ("job_id", "round", "participants", "supports", "run", "name", "input")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    SUPPORTS_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    round: _job_pb2.Round
    participants: _containers.RepeatedScalarFieldContainer[str]
    supports: _containers.RepeatedCompositeFieldContainer[_envelope_pb2.Envelope]
    run: int
    name: str
    input: _envelope_pb2.Envelope
    def __init__(self, job_id: _Optional[str] = ..., round: _Optional[_Union[_job_pb2.Round, str]] = ..., participants: _Optional[_Iterable[str]] = ..., supports: _Optional[_Iterable[_Union[_envelope_pb2.Envelope, _Mapping]]] = ..., run: _Optional[int] = ..., name: _Optional[str] = ..., input: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ...) -> None: ...

class InputFrame(_message.Message):
    __slots__ = ("job_id", "chunk")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    chunk: _envelope_pb2.Chunk
    def __init__(self, job_id: _Optional[str] = ..., chunk: _Optional[_Union[_envelope_pb2.Chunk, _Mapping]] = ...) -> None: ...

class SupportFrame(_message.Message):
    __slots__ = ("job_id", "support", "run")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    SUPPORT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    support: _envelope_pb2.Envelope
    run: int
    def __init__(self, job_id: _Optional[str] = ..., support: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., run: _Optional[int] = ...) -> None: ...

class ContributionFrame(_message.Message):
    __slots__ = ("job_id", "chunk", "run")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    chunk: _envelope_pb2.Chunk
    run: int
    def __init__(self, job_id: _Optional[str] = ..., chunk: _Optional[_Union[_envelope_pb2.Chunk, _Mapping]] = ..., run: _Optional[int] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("job_id", "code", "message")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    code: str
    message: str
    def __init__(self, job_id: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class JobEnded(_message.Message):
    __slots__ = ("job_id", "state", "reason")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    state: _job_pb2.JobState
    reason: str
    def __init__(self, job_id: _Optional[str] = ..., state: _Optional[_Union[_job_pb2.JobState, str]] = ..., reason: _Optional[str] = ...) -> None: ...
