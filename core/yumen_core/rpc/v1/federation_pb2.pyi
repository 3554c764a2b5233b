from yumen_core.rpc.v1 import envelope_pb2 as _envelope_pb2
from yumen_core.rpc.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CatalogueRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CatalogueResponse(_message.Message):
    __slots__ = ("nodes", "revocations", "coordinator", "now_ms", "descriptor")
    NODES_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[CatalogueNode]
    revocations: bytes
    coordinator: str
    now_ms: int
    descriptor: _envelope_pb2.Envelope
    def __init__(self, nodes: _Optional[_Iterable[_Union[CatalogueNode, _Mapping]]] = ..., revocations: _Optional[bytes] = ..., coordinator: _Optional[str] = ..., now_ms: _Optional[int] = ..., descriptor: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ...) -> None: ...

class CatalogueNode(_message.Message):
    __slots__ = ("descriptor", "connected")
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    descriptor: _envelope_pb2.Envelope
    connected: bool
    def __init__(self, descriptor: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., connected: _Optional[bool] = ...) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _envelope_pb2.Envelope
    def __init__(self, job: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("coordinator", "decisions", "excluded")
    COORDINATOR_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    coordinator: _envelope_pb2.Envelope
    decisions: _containers.RepeatedCompositeFieldContainer[_envelope_pb2.Envelope]
    excluded: _containers.RepeatedCompositeFieldContainer[_job_pb2.Exclusion]
    def __init__(self, coordinator: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., decisions: _Optional[_Iterable[_Union[_envelope_pb2.Envelope, _Mapping]]] = ..., excluded: _Optional[_Iterable[_Union[_job_pb2.Exclusion, _Mapping]]] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("job", "public_key", "bundle")
    JOB_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    job: _envelope_pb2.Envelope
    public_key: bytes
    bundle: bytes
    def __init__(self, job: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., public_key: _Optional[bytes] = ..., bundle: _Optional[bytes] = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("status", "decision", "proof")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    status: _job_pb2.JobStatus
    decision: _envelope_pb2.Envelope
    proof: _job_pb2.LogProof
    def __init__(self, status: _Optional[_Union[_job_pb2.JobStatus, _Mapping]] = ..., decision: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., proof: _Optional[_Union[_job_pb2.LogProof, _Mapping]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("outcome", "sum")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    outcome: _job_pb2.Outcome
    sum: _envelope_pb2.Chunk
    def __init__(self, outcome: _Optional[_Union[_job_pb2.Outcome, _Mapping]] = ..., sum: _Optional[_Union[_envelope_pb2.Chunk, _Mapping]] = ...) -> None: ...

class NextRunRequest(_message.Message):
    __slots__ = ("job_id", "run", "round", "input")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    run: int
    round: str
    input: _envelope_pb2.Envelope
    def __init__(self, job_id: _Optional[str] = ..., run: _Optional[int] = ..., round: _Optional[str] = ..., input: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ...) -> None: ...

class NextRunResponse(_message.Message):
    __slots__ = ("outcome", "sum")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    outcome: _job_pb2.RunOutcome
    sum: _envelope_pb2.Chunk
    def __init__(self, outcome: _Optional[_Union[_job_pb2.RunOutcome, _Mapping]] = ..., sum: _Optional[_Union[_envelope_pb2.Chunk, _Mapping]] = ...) -> None: ...

class UploadRequest(_message.Message):
    __slots__ = ("job_id", "chunk")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    chunk: _envelope_pb2.Chunk
    def __init__(self, job_id: _Optional[str] = ..., chunk: _Optional[_Union[_envelope_pb2.Chunk, _Mapping]] = ...) -> None: ...

class UploadResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CompleteRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class JobsRequest(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class JobsResponse(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_job_pb2.JobStatus]
    def __init__(self, jobs: _Optional[_Iterable[_Union[_job_pb2.JobStatus, _Mapping]]] = ...) -> None: ...
