"""Each way in which a certificate or a list can be wrong, and the step that refuses it."""

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from identity_world import FEDERATION, HOUR_MS, Federation, Leaf
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity import (
    CertificateAuthority,
    Identity,
    Revocations,
    Role,
    SigningKey,
    TrustAnchor,
    der_from_pem,
    needs_renewal,
    pem_from_der,
    serial_text,
)
from yumen_core.identity.authority import DEFAULT_LEAF_MS, ROOT_MS, SKEW_MS, Revoked, dns_names_of
from yumen_core.identity.certificates import from_ms, validity_ms

LI = Identity(FEDERATION, "lzu", Role.USER, "li")
HUB = Identity(FEDERATION, "federation", Role.COORDINATOR, "main")


def identify(federation: Federation, leaf: bytes) -> Identity:
    return federation.anchor.identify(
        leaf, now_ms=federation.now_ms, revocations=federation.revocations()
    )


def test_an_issued_certificate_proves_its_name(federation: Federation) -> None:
    _, leaf = federation.member()
    assert identify(federation, leaf) == LI
    assert identify(federation, federation.forge()) == LI
    revocations = federation.revocations()
    pem = pem_from_der(leaf)
    proven = federation.anchor.identify_pem(pem, now_ms=federation.now_ms, revocations=revocations)
    assert proven == LI
    assert der_from_pem(pem) == leaf


def _set(**changes: object) -> Callable[[Leaf], None]:
    def change(leaf: Leaf) -> None:
        for name, value in changes.items():
            assert hasattr(leaf, name)
            setattr(leaf, name, value)

    return change


def _shift(begin_ms: int, end_ms: int) -> Callable[[Leaf], None]:
    def change(leaf: Leaf) -> None:
        leaf.begin_ms += begin_ms
        leaf.end_ms += end_ms

    return change


USAGE = {"digital_signature": True, "key_cert_sign": False, "crl_sign": False}
UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
OTHER = "spiffe://other.example/org/lzu/user/li"
BAD_LEAVES = {
    "step 2: signed by another key": (
        _set(signer=ec.generate_private_key(ec.SECP256R1())),
        "was not issued by the federation's authority",
    ),
    "step 2: signed with another hash": (
        _set(hash=hashes.SHA384()),
        "not signed with ECDSA and SHA-256",
    ),
    "step 2: another issuer": (
        _set(issuer=x509.Name([])),
        "was not issued by the federation's authority",
    ),
    "step 3: not yet valid": (_shift(2 * HOUR_MS, 2 * HOUR_MS), "is not valid before 2026-"),
    "step 3: expired": (_shift(-2 * HOUR_MS, -2 * HOUR_MS), "expired on 2026-"),
    "step 4: may sign certificates": (
        _set(basic=x509.BasicConstraints(True, None)),
        "got one that may sign certificates",
    ),
    "step 4: no basic constraints": (_set(basic=None), "lacks an extension"),
    "step 4: usage certificate signing": (
        _set(usage=USAGE | {"key_cert_sign": True}),
        "not digital signature alone",
    ),
    "step 4: usage list signing": (
        _set(usage=USAGE | {"crl_sign": True}),
        "not digital signature alone",
    ),
    "step 5: not for clients": (
        _set(purposes=[ExtendedKeyUsageOID.SERVER_AUTH]),
        "not for client authentication",
    ),
    "step 5: unknown critical extension": (
        _set(more=[UNKNOWN]),
        "the unknown critical extension",
    ),
    "step 6: P-384": (
        _set(public_key=ec.generate_private_key(ec.SECP384R1()).public_key()),
        "expected an ECDSA P-256 key",
    ),
    "step 6: Ed25519": (
        _set(public_key=ed25519.Ed25519PrivateKey.generate().public_key()),
        "expected an ECDSA P-256 key",
    ),
    "step 7: two URIs": (_set(uris=[LI.uri, HUB.uri]), "exactly one URI .* got 2"),
    "step 7: no URI": (_set(uris=[]), "exactly one URI .* got 0"),
    "step 7: not an identity": (_set(uris=["spiffe://a/b"]), "names no identity: expected an"),
    "step 8: another federation": (
        _set(uris=[OTHER]),
        "of federation `gansu.example`, got `other.example`",
    ),
}


@pytest.mark.parametrize("case", BAD_LEAVES)
def test_bad_leaves(federation: Federation, case: str) -> None:
    change, message = BAD_LEAVES[case]
    with pytest.raises(PeerError, match=message) as refused:
        identify(federation, federation.forge(change))
    assert refused.value.code == "certificate"


def test_bad_bytes(federation: Federation) -> None:
    _, leaf = federation.member()
    for data, message in (
        (b"", "not an X.509 certificate"),
        (leaf[:-1], "not an X.509 certificate"),
        (leaf + b"\0", "not an X.509 certificate"),
        (bytes(16_385), "at most 16384 bytes, got 16385"),
    ):
        with pytest.raises(PeerError, match=message):
            identify(federation, data)
    for pem in (b"", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", bytes(40_000)):
        with pytest.raises(PeerError, match=r"not an X.509 certificate in PEM|got more"):
            der_from_pem(pem)


@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
def test_every_changed_byte_is_refused(federation: Federation) -> None:
    _, leaf = federation.member()
    revocations = federation.revocations()
    for place in range(len(leaf)):
        for bit in (0x01, 0x80):
            changed = leaf[:place] + bytes([leaf[place] ^ bit]) + leaf[place + 1 :]
            with pytest.raises(PeerError):
                federation.anchor.identify(
                    changed, now_ms=federation.now_ms, revocations=revocations
                )


def test_a_signature_has_one_encoding(federation: Federation) -> None:
    """Found by the test above: a zero bit at the end may be declared unused."""
    leaf = federation.forge()
    while x509.load_der_x509_certificate(leaf).signature[-1] & 1:
        leaf = federation.forge()
    place = len(leaf) - len(x509.load_der_x509_certificate(leaf).signature) - 1
    assert leaf[place] == 0
    changed = leaf[:place] + b"\x01" + leaf[place + 1 :]
    with pytest.raises(PeerError, match="the certificate's signature is not in its canonical form"):
        identify(federation, changed)


def test_a_list_signed_anew_is_still_the_same_list(federation: Federation) -> None:
    first = federation.revocations(7)
    key = serialization.load_pem_private_key(federation.key.reveal_pem(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(federation.anchor.certificate.subject)
        .last_update(from_ms(first.this_update_ms))
        .next_update(from_ms(first.next_update_ms))
        .add_extension(x509.CRLNumber(first.number), critical=False)
    )
    entry = x509.RevokedCertificateBuilder().serial_number(7)
    entry = entry.revocation_date(from_ms(federation.now_ms))
    again = _der(builder.add_revoked_certificate(entry.build()), key)
    assert again != first.der
    read = Revocations.read(again, federation.anchor, now_ms=federation.now_ms, previous=first)
    assert read.serials == {7}


def test_another_authority_of_the_same_name(federation: Federation, stranger: Federation) -> None:
    _, leaf = stranger.member()
    with pytest.raises(PeerError, match="was not issued by the federation's authority"):
        identify(federation, leaf)
    with pytest.raises(PeerError, match="the revocation list belongs to another authority"):
        stranger.anchor.identify(leaf, now_ms=stranger.now_ms, revocations=federation.revocations())


def test_a_member_cannot_sign_for_another(federation: Federation) -> None:
    key, leaf = federation.member()
    signer = serialization.load_pem_private_key(key.reveal_pem(), password=None)
    child = federation.forge(_set(signer=signer, issuer=x509.Name([])))
    with pytest.raises(PeerError, match="was not issued by the federation's authority"):
        identify(federation, child)
    with pytest.raises(PeerError, match="not a signing certificate"):
        TrustAnchor(leaf, FEDERATION)


def test_anchor_of_another_federation(federation: Federation) -> None:
    with pytest.raises(PeerError, match=r"not that of federation `other.example`"):
        TrustAnchor(federation.anchor.authority_der, "other.example")


def test_validity_limits_are_inclusive(federation: Federation) -> None:
    _, leaf = federation.member()
    begin_ms, end_ms = validity_ms(leaf)
    assert (federation.now_ms - begin_ms, end_ms - federation.now_ms) == (SKEW_MS, DEFAULT_LEAF_MS)
    anchor = federation.anchor
    assert anchor.identify_unrevoked(leaf, now_ms=begin_ms) == LI
    assert anchor.identify_unrevoked(leaf, now_ms=end_ms + 999) == LI
    for now_ms in (begin_ms - 1, end_ms + 1000):
        with pytest.raises(PeerError):
            anchor.identify_unrevoked(leaf, now_ms=now_ms)
    half_ms = (begin_ms + end_ms) // 2
    assert not needs_renewal(leaf, half_ms - 1)
    assert needs_renewal(leaf, half_ms)


def test_a_revoked_certificate_is_refused(federation: Federation) -> None:
    _, leaf = federation.member()
    _, other = federation.member("wang")
    revocations = federation.revocations(int(serial_text(leaf), 16))
    anchor = federation.anchor
    with pytest.raises(PeerError, match=f"the certificate of `{LI}` is revoked") as refused:
        anchor.identify(leaf, now_ms=federation.now_ms, revocations=revocations)
    assert refused.value.code == "certificate_revoked"
    assert anchor.identify(other, now_ms=federation.now_ms, revocations=revocations).name == "wang"


def test_a_stale_list_fails_closed(federation: Federation) -> None:
    _, leaf = federation.member()
    revocations = federation.revocations()
    federation.clock.advance(24 * HOUR_MS - 1)
    federation.anchor.identify(leaf, now_ms=federation.now_ms, revocations=revocations)
    federation.clock.advance(1)
    with pytest.raises(PeerError, match="the revocation list expired 0 hours ago") as refused:
        federation.anchor.identify(leaf, now_ms=federation.now_ms, revocations=revocations)
    assert refused.value.code == "revocations"
    with pytest.raises(PeerError, match="expired"):
        Revocations.read(revocations.der, federation.anchor, now_ms=federation.now_ms)


def test_lists_do_not_go_back(federation: Federation) -> None:
    first, second = federation.revocations(), federation.revocations(7)
    read = Revocations.read
    anchor, now_ms = federation.anchor, federation.now_ms
    assert read(second.der, anchor, now_ms=now_ms, previous=first).serials == {7}
    assert read(second.der, anchor, now_ms=now_ms, previous=second) == second
    with pytest.raises(PeerError, match="numbered 2 or later, got 1") as refused:
        read(first.der, anchor, now_ms=now_ms, previous=second)
    assert refused.value.code == "revocations"
    federation.numbers[-1] = 1
    twin = federation.revocations(8)
    with pytest.raises(PeerError, match="two different revocation lists have the number 2"):
        read(twin.der, anchor, now_ms=now_ms, previous=second)


def test_bad_lists(federation: Federation, stranger: Federation) -> None:
    good = federation.revocations(5).der
    early = federation.authority.issue_revocations([], number=1)
    key = serialization.load_pem_private_key(federation.key.reveal_pem(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    plain = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(federation.anchor.certificate.subject)
        .last_update(from_ms(federation.now_ms))
        .next_update(from_ms(federation.now_ms + HOUR_MS))
    )
    delta = plain.add_extension(x509.CRLNumber(2), critical=False).add_extension(
        x509.DeltaCRLIndicator(1), critical=True
    )
    table = [
        (b"", "not a numbered X.509 revocation list"),
        (good[:-1], "not a numbered X.509 revocation list"),
        (bytes(1024 * 1024 + 1), "at most 1048576 bytes"),
        (good[:-1] + bytes([good[-1] ^ 1]), "not signed by the federation's authority"),
        (stranger.revocations().der, "not from the federation's authority"),
        (_der(plain, key), "not a numbered X.509 revocation list"),
        (_der(delta, key), "has a critical extension"),
        (_der(plain, key, hashes.SHA384()), "not signed by the federation's authority"),
    ]
    for der, message in table:
        with pytest.raises(PeerError, match=message) as refused:
            Revocations.read(der, federation.anchor, now_ms=federation.now_ms)
        assert refused.value.code == "revocations"
    with pytest.raises(PeerError, match="dated in the future"):
        Revocations.read(early, federation.anchor, now_ms=federation.now_ms - 6 * 60_000)


def _der(
    builder: x509.CertificateRevocationListBuilder,
    key: ec.EllipticCurvePrivateKey,
    algorithm: hashes.HashAlgorithm | None = None,
) -> bytes:
    signed = builder.sign(key, algorithm or hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def test_the_profile_of_root_and_leaf(federation: Federation) -> None:
    root = federation.anchor.certificate
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    begin_ms, end_ms = validity_ms(federation.anchor.authority_der)
    assert end_ms - begin_ms == ROOT_MS + SKEW_MS
    key = SigningKey.generate()
    names = ["hub.example", "127.0.0.1", "::1"]
    for identity, dns_names, purposes in (
        (LI, [], {ExtendedKeyUsageOID.CLIENT_AUTH}),
        (HUB, names, {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}),
    ):
        der = federation.authority.issue(key.csr(), identity, dns_names=dns_names)
        leaf = x509.load_der_x509_certificate(der)
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value.digital_signature
        assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == purposes
        identifier = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        own = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert identifier.key_identifier == own.digest
        assert dns_names_of(leaf) == tuple(dns_names)
        assert 100 < leaf.serial_number.bit_length() <= 159


def test_a_request_cannot_choose_its_names(federation: Federation) -> None:
    key = serialization.load_pem_private_key(SigningKey.generate().reveal_pem(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    wish = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(HUB.uri)])
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(wish, critical=True)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    leaf = federation.authority.issue(csr.public_bytes(serialization.Encoding.DER), LI)
    assert identify(federation, leaf) == LI


def test_bad_requests(federation: Federation, p384: ec.EllipticCurvePrivateKey) -> None:
    good = SigningKey.generate().csr()
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    wrong_curve = builder.sign(p384, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    for csr, message in (
        (b"", "not a certificate request"),
        (bytes(8193), "at most 8192 bytes, got 8193"),
        (wrong_curve, "expected an ECDSA P-256 key"),
        (good[:-1] + bytes([good[-1] ^ 1]), "not signed by its own key"),
    ):
        with pytest.raises(PeerError, match=message) as refused:
            federation.authority.issue(csr, LI)
        assert refused.value.code == "certificate"


def test_bad_calls_to_the_authority(federation: Federation, stranger: Federation) -> None:
    csr = SigningKey.generate().csr()
    issue = federation.authority.issue
    with pytest.raises(CallError, match=r"expected an identity in federation `gansu.example`"):
        issue(csr, Identity("other.example", "lzu", Role.USER, "li"))
    with pytest.raises(CallError, match="only a coordinator or authority has host names"):
        issue(csr, LI, dns_names=["li.example"])
    for name in ("", "UPPER.example", "a b", "*.example", "1.2.3", "a." * 127 + "toolong"):
        with pytest.raises(CallError, match="expected a lower-case host name or IP address"):
            issue(csr, HUB, dns_names=[name])
    with pytest.raises(CallError, match="at most 16 host names, got 17"):
        issue(csr, HUB, dns_names=["a.example"] * 17)
    with pytest.raises(CallError, match=r"expected a federation like `gansu.example`"):
        CertificateAuthority.create(SigningKey.generate(), "Gansu", federation.clock)
    with pytest.raises(StateError, match="key and certificate do not match"):
        CertificateAuthority(stranger.key, federation.anchor, federation.clock)


def test_leaves_end_with_their_root(federation: Federation) -> None:
    federation.clock.advance(ROOT_MS - HOUR_MS)
    csr = SigningKey.generate().csr()
    leaf = federation.authority.issue(csr, LI)
    assert validity_ms(leaf)[1] == validity_ms(federation.anchor.authority_der)[1]
    federation.clock.advance(2 * HOUR_MS)
    with pytest.raises(StateError, match="the authority's own certificate has expired"):
        federation.authority.issue(csr, LI)


def test_revoked_entries_keep_their_time(federation: Federation) -> None:
    der = federation.authority.issue_revocations([Revoked(9, federation.now_ms)], number=1)
    entry = x509.load_der_x509_crl(der).get_revoked_certificate_by_serial_number(9)
    assert entry is not None
    assert entry.revocation_date_utc == from_ms(federation.now_ms)
