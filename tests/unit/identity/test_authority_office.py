"""The authority without its network: lists over time, limits, settings."""

import threading
from pathlib import Path

import pytest
from yumen_authority import service
from yumen_authority.config import parse_config
from yumen_authority.limits import FailureLimit
from yumen_authority.office import MAX_LIVE_CERTIFICATES, Office
from yumen_authority.register import Register
from yumen_core.clock import ManualClock
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity import PayloadType, Revocations, SigningKey, serial_text, sign

NODE = "spiffe://gansu.example/org/lzu/node/cleveland"
HOUR_MS = 3_600_000
SAMPLE = b"federation: gansu.example\naddress: 10.0.0.1:7400\ndns_names: [10.0.0.1]\n"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def home(tmp_path: Path, clock: ManualClock) -> Path:
    service.init_authority(tmp_path / "home", "gansu.example", "127.0.0.1:7400", clock=clock)
    return tmp_path / "home"


def office_of(home: Path, clock: ManualClock) -> Office:
    return service._open(home, clock)[0]


def test_lists_are_made_anew_at_a_quarter_of_their_validity(home: Path, clock: ManualClock) -> None:
    office, anchor = office_of(home, clock), service._read(home, clock)[1].anchor
    first = office.revocations()
    clock.advance(6 * HOUR_MS - 1)
    assert office.revocations() == first
    clock.advance(1)
    second = office.revocations()
    assert second != first
    lists = [Revocations.parse(der, anchor) for der in (first, second)]
    lists[1].check_follows(lists[0])
    clock.advance(-48 * HOUR_MS)
    third = Revocations.read(office.revocations(), anchor, now_ms=clock.now_ms())
    assert third.number > lists[1].number


def test_a_register_from_a_backup_does_not_repeat_numbers(home: Path, clock: ManualClock) -> None:
    anchor = service._read(home, clock)[1].anchor
    for _ in range(5):
        clock.advance(7 * HOUR_MS)
        newest = Revocations.parse(office_of(home, clock).revocations(), anchor)
    (home / "register.db").unlink()
    Register(home / "register.db").create()
    clock.advance(1000)
    after = Revocations.parse(office_of(home, clock).revocations(), anchor)
    after.check_follows(newest)


def test_expired_certificates_leave_the_list(home: Path, clock: ManualClock) -> None:
    office, anchor = office_of(home, clock), service._read(home, clock)[1].anchor
    granted = office.enrol(
        service.issue_token(home, NODE, clock=clock), SigningKey.generate().csr()
    )
    serial = serial_text(granted.certificate)
    assert [i.serial for i in service.revoke(home, f"0x{serial.upper()}", clock)] == [serial]
    assert Revocations.parse(office.revocations(), anchor).serials == {int(serial, 16)}
    with pytest.raises(CallError, match=f"expected a certificate that is valid, and `{serial}`"):
        service.revoke(home, serial, clock)
    clock.advance(30 * 24 * HOUR_MS + 23 * HOUR_MS)
    assert Revocations.parse(office.revocations(), anchor).serials == {int(serial, 16)}
    clock.advance(7 * HOUR_MS)
    assert Revocations.parse(office.revocations(), anchor).serials == frozenset()


def test_a_bad_request_does_not_spend_the_token(home: Path, clock: ManualClock) -> None:
    office = office_of(home, clock)
    token = service.issue_token(home, NODE, clock=clock)
    with pytest.raises(PeerError, match="not a certificate request"):
        office.enrol(token, b"junk")
    key = SigningKey.generate()
    office.enrol(token, key.csr())
    again = service.issue_token(home, NODE, clock=clock)
    with pytest.raises(PeerError, match="this key was certified before"):
        office.enrol(again, key.csr())
    clock.advance(24 * HOUR_MS)
    with pytest.raises(PeerError, match="the enrolment token has expired"):
        office.enrol(again, SigningKey.generate().csr())


def test_concurrent_use_of_one_token_enrols_once(home: Path, clock: ManualClock) -> None:
    office = office_of(home, clock)
    token = service.issue_token(home, NODE, clock=clock)
    outcomes: list[str] = []

    def attempt() -> None:
        try:
            office.enrol(token, SigningKey.generate().csr())
        except PeerError as error:
            outcomes.append(error.message)
        else:
            outcomes.append("enrolled")

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["enrolled"] + ["the enrolment token was used before"] * 5
    assert len(service.list_issued(home)) == 1


def test_renewal_has_an_end(home: Path, clock: ManualClock) -> None:
    office = office_of(home, clock)
    key = SigningKey.generate()
    held = office.enrol(service.issue_token(home, NODE, clock=clock), key.csr()).certificate

    def renew() -> bytes:
        csr = SigningKey.generate().csr()
        return office.renew(sign(csr, PayloadType.RENEWAL, key, held)).certificate

    for _ in range(MAX_LIVE_CERTIFICATES - 1):
        renew()
    with pytest.raises(PeerError, match="holds 16 valid certificates, and at most 16") as refused:
        renew()
    assert refused.value.code == "rate_limited"
    clock.advance(31 * 24 * HOUR_MS)
    with pytest.raises(PeerError, match="the certificate expired on"):
        renew()


def test_a_renewal_must_be_one(home: Path, clock: ManualClock) -> None:
    office = office_of(home, clock)
    key = SigningKey.generate()
    held = office.enrol(service.issue_token(home, NODE, clock=clock), key.csr()).certificate
    csr = SigningKey.generate().csr()
    for envelope, message in (
        (sign(csr, PayloadType.JOB_SPEC, key, held), "expected a statement of type .*renewal"),
        (sign(b"junk", PayloadType.RENEWAL, key, held), "not a certificate request"),
        (sign(csr, PayloadType.RENEWAL, SigningKey.generate(), held), "does not match the signed"),
        (sign(bytes(9000), PayloadType.RENEWAL, key, held), "at most 8192 bytes, got 9000"),
    ):
        with pytest.raises(PeerError, match=message):
            office.renew(envelope)
    assert len(service.list_issued(home)) == 1


def test_failures_are_counted_per_peer_and_forgotten() -> None:
    limit = FailureLimit(max_failures=2, window_ms=100, max_peers=2)
    limit.record("a", 0)
    assert not limit.blocks("a", 0)
    limit.record("a", 50)
    assert limit.blocks("a", 99)
    assert not limit.blocks("b", 99)
    assert not limit.blocks("a", 100)
    for peer in ("a", "b", "c"):
        limit.record(peer, 100)
        limit.record(peer, 100)
    assert [limit.blocks(peer, 100) for peer in ("a", "b", "c")] == [False, True, True]


def test_a_home_is_made_once_and_kept_private(home: Path, clock: ManualClock) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in home.iterdir()}
    assert modes["authority-key.pem"] == 0o600
    assert modes["register.db"] == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    with pytest.raises(CallError, match="holds an authority already; choose another folder"):
        service.init_authority(home, "gansu.example", "127.0.0.1:7400", clock=clock)
    (home / "authority-key.pem").chmod(0o644)
    with pytest.raises(StateError, match="expected mode 600, got 644"):
        service.list_issued(home)
    with pytest.raises(StateError, match=r"authority.yaml` is missing; make an authority first"):
        service.list_issued(home.parent / "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SAMPLE + b"colour: red\n", "`colour`: extra inputs are not permitted"),
        (SAMPLE + b"listen: nowhere\n", "`listen`: expected an address like .* got `nowhere`"),
        (SAMPLE + b"certificate_days: 0\n", "`certificate_days`: input should be greater"),
        (SAMPLE.replace(b"gansu", b"Gansu"), "`federation`: expected a federation like"),
        (SAMPLE.replace(b"[10.0.0.1]", b"['a b']"), "`dns_names`: expected a lower-case host"),
        (SAMPLE.replace(b"[10.0.0.1]", b"[]"), "`dns_names`: tuple should have at least 1"),
        (b"", "`the file`: input should be a valid dictionary"),
        (b"a: [", "is not readable YAML"),
        (b"\xff\xff", "is not readable YAML"),
    ],
)
def test_bad_settings(text: bytes, message: str) -> None:
    with pytest.raises(CallError, match=message) as refused:
        parse_config(text, source="authority.yaml")
    assert refused.value.code == "config"


def test_good_settings() -> None:
    config = parse_config(SAMPLE + b"listen: 0.0.0.0:7400\n", source="authority.yaml")
    assert config.bind_address == "0.0.0.0:7400"
    assert config.certificate_ms == 30 * 24 * HOUR_MS
