"""The authority's own settings: `authority.yaml` in its folder."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from yumen_core.errors import CallError, PeerError
from yumen_core.identity.authority import check_dns_names
from yumen_core.identity.files import read_file, replace_file
from yumen_core.identity.names import Identity, Role, check_federation
from yumen_core.identity.tokens import check_address

MAX_CONFIG_BYTES = 64 * 1024
_HOUR_MS = 3_600_000


class AuthorityConfig(BaseModel):
    """Checked settings; an unknown key is refused.

    `address` is the `host:port` that tokens name and members dial; with port 0 a free port is
    taken at each start and tokens name the latest. `listen` is what the server binds, by default
    `address`. `dns_names` are the host names and IP addresses that its TLS certificate carries.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    federation: str
    address: str
    listen: str | None = None
    dns_names: tuple[str, ...] = Field(min_length=1, max_length=16)
    certificate_days: int = Field(default=30, ge=1, le=397)
    revocations_hours: int = Field(default=24, ge=1, le=24 * 14)

    @field_validator("federation")
    @classmethod
    def _federation(cls, value: str) -> str:
        try:
            return check_federation(value)
        except CallError as error:
            raise ValueError(error.message) from None

    @field_validator("address", "listen")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            return check_address(value)
        except PeerError:
            raise ValueError(f"expected an address like `127.0.0.1:7400`, got `{value}`") from None

    @field_validator("dns_names")
    @classmethod
    def _dns_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            check_dns_names(authority_identity("any.example"), value)
        except CallError as error:
            raise ValueError(error.message) from None
        return value

    @property
    def bind_address(self) -> str:
        return self.listen if self.listen is not None else self.address

    @property
    def certificate_ms(self) -> int:
        return self.certificate_days * 24 * _HOUR_MS

    @property
    def revocations_ms(self) -> int:
        return self.revocations_hours * _HOUR_MS


def authority_identity(federation: str) -> Identity:
    """The name in the authority server's own TLS certificate."""
    return Identity(federation, "federation", Role.AUTHORITY, "authority")


def host_of(address: str) -> str:
    """The host in `host:port`, without the brackets of an IPv6 address."""
    return address.rpartition(":")[0].strip("[]")


def parse_config(raw: bytes, *, source: str) -> AuthorityConfig:
    """Settings from YAML text. Raises `CallError` ("config") naming the key at fault."""
    try:
        fields = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError):
        raise CallError("config", f"`{source}` is not readable YAML") from None
    return _checked(fields, source)


def make_config(fields: dict[str, object]) -> AuthorityConfig:
    """Settings from a caller's arguments. Raises `CallError` ("config")."""
    return _checked(fields, "the arguments")


def read_config(path: Path) -> AuthorityConfig:
    """Read and check `path`. Raises `StateError` where it is missing, `CallError` ("config")."""
    raw = read_file(
        path,
        max_bytes=MAX_CONFIG_BYTES,
        remedy="make an authority first with `yumen authority init`",
    )
    return parse_config(raw, source=str(path))


def write_config(path: Path, config: AuthorityConfig) -> None:
    fields = config.model_dump(mode="json", exclude_none=True)
    replace_file(path, yaml.safe_dump(fields, sort_keys=False).encode())


def _checked(fields: object, source: str) -> AuthorityConfig:
    try:
        return AuthorityConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        problem = first["msg"].removeprefix("Value error, ")
        problem = problem[:1].lower() + problem[1:]
        raise CallError("config", f"in {source}, `{where}`: {problem}") from None
