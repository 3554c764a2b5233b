"""What a folder must hold, what is said when it does not, and what survives a crash."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from identity_world import Federation
from yumen_core.errors import CallError, PeerError, StateError, YumenError
from yumen_core.identity import (
    Identity,
    IdentityStore,
    LoadedIdentity,
    Role,
    serial_text,
)


def enrolled(federation: Federation, name: str = "li", role: Role = Role.USER) -> LoadedIdentity:
    key, leaf = federation.member(name, role)
    identity = Identity("gansu.example", "lzu", role, name)
    revocations = federation.revocations()
    return LoadedIdentity(identity, key, leaf, federation.anchor, revocations, "127.0.0.1:7400")


@pytest.fixture
def store(federation: Federation, tmp_path: Path) -> IdentityStore:
    store = IdentityStore(tmp_path / "identity", federation.clock)
    store.save(enrolled(federation))
    return store


def test_the_folder_reads_back(federation: Federation, store: IdentityStore) -> None:
    loaded = store.load()
    assert loaded.identity.short == "lzu/li"
    assert loaded.authority_address == "127.0.0.1:7400"
    names = {path.name for path in store.directory.iterdir()}
    assert names == {
        "authority.pem",
        "certificate.pem",
        "identity.json",
        "key.pem",
        "revocations.crl",
    }
    assert store.directory.stat().st_mode & 0o777 == 0o700
    assert (store.directory / "key.pem").stat().st_mode & 0o777 == 0o600
    tls = loaded.tls()
    assert tls.certificate_chain_pem == (store.directory / "certificate.pem").read_bytes()
    assert tls.root_pem == (store.directory / "authority.pem").read_bytes()
    assert "PRIVATE" not in repr(tls)
    assert "PRIVATE" not in repr(loaded)
    assert not loaded.needs_renewal(federation.now_ms)


def _write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no folder": (shutil.rmtree, "state", r"identity.json` is missing; enrol with a token"),
    "no key": (_remove("key.pem"), "state", "key.pem` is missing"),
    "no certificate": (_remove("certificate.pem"), "state", "missing; enrol with a token"),
    "no authority": (_remove("authority.pem"), "state", "authority.pem` is missing; enrol"),
    "no list": (_remove("revocations.crl"), "state", "missing; fetch the list from the fed"),
    "open key": (lambda f: (f / "key.pem").chmod(0o644), "state", "expected mode 600, got 644"),
    "bad key": (_write("key.pem", b"x"), "state", "holds no readable private key"),
    "bad certificate": (_write("certificate.pem", b"x"), "state", "no readable certificate"),
    "bad list": (_write("revocations.crl", b"x"), "revocations", "fetch the list from the"),
    "bad description": (_write("identity.json", b"{}"), "state", "identity.json` is damaged"),
    "other name": (
        _write(
            "identity.json",
            b'{"authority":"a:1","identity":"spiffe://gansu.example/org/lzu/user/wang"}',
        ),
        "state",
        "says `spiffe://gansu.example/org/lzu/user/wang`, the certificate `.*/li`; enrol again",
    ),
    "other federation": (
        _write(
            "identity.json",
            b'{"authority":"a:1","identity":"spiffe://other.example/org/lzu/user/li"}',
        ),
        "certificate",
        "not that of federation `other.example`; enrol again",
    ),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_folders(store: IdentityStore, case: str) -> None:
    spoil, code, message = BAD_FOLDERS[case]
    spoil(store.directory)
    with pytest.raises(StateError, match=message) as refused:
        store.load()
    assert refused.value.code == code


def test_pieces_of_another_identity(
    federation: Federation, stranger: Federation, store: IdentityStore, tmp_path: Path
) -> None:
    other = IdentityStore(tmp_path / "other", federation.clock)
    other.save(enrolled(federation, "wang"))
    foreign = IdentityStore(tmp_path / "foreign", stranger.clock)
    foreign.save(enrolled(stranger))
    for source, name, message in (
        (other, "key.pem", "key.pem` does not belong to"),
        (other, "certificate.pem", "key.pem` does not belong to"),
        (foreign, "authority.pem", "was not issued by the federation's authority"),
        (foreign, "revocations.crl", "is not from the federation's authority"),
    ):
        held = (store.directory / name).read_bytes()
        shutil.copy(source.directory / name, store.directory / name)
        with pytest.raises(StateError, match=message):
            store.load()
        (store.directory / name).write_bytes(held)
    store.load()


def test_expired_and_revoked_identities(federation: Federation, store: IdentityStore) -> None:
    loaded = store.load()
    store.save_revocations(federation.revocations(int(serial_text(loaded.certificate_der), 16)))
    with pytest.raises(StateError, match=r"the certificate of `.*/li` is revoked") as refused:
        store.load()
    assert refused.value.code == "certificate_revoked"
    federation.clock.advance(31 * 24 * 3_600_000)
    with pytest.raises(StateError, match=r"expired on .* UTC; enrol again with a new token"):
        store.load()


def test_a_stale_list_loads_so_that_a_new_one_can_be_fetched(
    federation: Federation, store: IdentityStore
) -> None:
    federation.clock.advance(48 * 3_600_000)
    loaded = store.load()
    with pytest.raises(PeerError, match="the revocation list expired"):
        loaded.anchor.identify(
            loaded.certificate_der, now_ms=federation.now_ms, revocations=loaded.revocations
        )


def test_the_kept_list_does_not_go_back(
    federation: Federation, stranger: Federation, store: IdentityStore
) -> None:
    older, newer = federation.revocations(), federation.revocations()
    store.save_revocations(newer)
    with pytest.raises(PeerError, match="numbered 3 or later, got 2"):
        store.save_revocations(older)
    with pytest.raises(PeerError, match="belongs to another authority"):
        store.save_revocations(stranger.revocations())
    assert store.load().revocations == newer


@pytest.mark.parametrize("step", range(6))
def test_a_renewal_cut_short_leaves_a_working_identity(
    federation: Federation, store: IdentityStore, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    before = store.load()
    after = enrolled(federation)
    left = [step]

    def dying(call: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: object, **options: object) -> None:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            call(*arguments, **options)

        return run

    for module, name in (
        ("keys", "replace_file"),
        ("store", "replace_file"),
        ("store", "move_file"),
    ):
        where = f"yumen_core.identity.{module}.{name}"
        source = __import__("yumen_core.identity.files", fromlist=[name])
        monkeypatch.setattr(where, dying(getattr(source, name)))
    with pytest.raises(KeyboardInterrupt):
        store.save(after)
    monkeypatch.undo()
    found = store.load()
    expected = after if step == 5 else before
    assert found.certificate_der == expected.certificate_der
    assert found.key.public_bytes() == expected.key.public_bytes()
    store.save(after)
    assert store.load().certificate_der == after.certificate_der


def test_a_folder_holds_one_identity(
    federation: Federation, store: IdentityStore, tmp_path: Path
) -> None:
    with pytest.raises(CallError, match=r"already holds `.*/li`, and the token is for `.*/wang`"):
        store.save(enrolled(federation, "wang"))
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "key.pem").write_text("somebody's")
    with pytest.raises(CallError, match="exists and belongs to no enrolled identity"):
        IdentityStore(strange, federation.clock).save(enrolled(federation))
    assert (strange / "key.pem").read_text() == "somebody's"


def test_unwritable_places_are_told(federation: Federation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = IdentityStore(tmp_path / "file" / "identity", federation.clock)
    with pytest.raises(YumenError, match="cannot be written: Not a directory"):
        store.save(replace(enrolled(federation)))
