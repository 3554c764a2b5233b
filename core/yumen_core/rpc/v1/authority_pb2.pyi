from yumen_core.rpc.v1 import envelope_pb2 as _envelope_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnrolRequest(_message.Message):
    __slots__ = ("token", "csr")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    token: str
    csr: bytes
    def __init__(self, token: _Optional[str] = ..., csr: _Optional[bytes] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: _envelope_pb2.Envelope
    def __init__(self, request: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ...) -> None: ...

class EnrolResponse(_message.Message):
    __slots__ = ("certificate", "authority", "revocations")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    authority: bytes
    revocations: bytes
    def __init__(self, certificate: _Optional[bytes] = ..., authority: _Optional[bytes] = ..., revocations: _Optional[bytes] = ...) -> None: ...

class RevocationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RevocationsResponse(_message.Message):
    __slots__ = ("revocations",)
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    revocations: bytes
    def __init__(self, revocations: _Optional[bytes] = ...) -> None: ...
