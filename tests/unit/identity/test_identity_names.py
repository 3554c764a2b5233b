import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.identity import Identity, Role

PART = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)
FEDERATIONS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z]{1,8}){0,3}", fullmatch=True)


@given(FEDERATIONS, PART, st.sampled_from(Role), PART)
def test_a_uri_reads_back(federation: str, organisation: str, role: Role, name: str) -> None:
    identity = Identity(federation, organisation, role, name)
    assert Identity.parse(identity.uri) == identity
    assert str(identity) == identity.uri
    assert identity.short == f"{organisation}/{name}"


@given(st.text(max_size=60))
def test_what_parses_is_spelled_canonically(tail: str) -> None:
    uri = f"spiffe://gansu.example/org/{tail}"
    try:
        identity = Identity.parse(uri)
    except PeerError:
        return
    assert identity.uri == uri


def test_the_uri_of_the_design() -> None:
    identity = Identity.parse("spiffe://gansu.example/org/lzu/user/li")
    assert identity == Identity("gansu.example", "lzu", Role.USER, "li")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://",
        "http://gansu.example/org/lzu/user/li",
        "SPIFFE://gansu.example/org/lzu/user/li",
        "spiffe://gansu.example/org/lzu/user",
        "spiffe://gansu.example/org/lzu/user/li/",
        "spiffe://gansu.example/org/lzu/user/li/more",
        "spiffe://gansu.example/team/lzu/user/li",
        "spiffe://Gansu.example/org/lzu/user/li",
        "spiffe://gansu.example:443/org/lzu/user/li",
        "spiffe://a@gansu.example/org/lzu/user/li",
        "spiffe://gansu..example/org/lzu/user/li",
        "spiffe://-gansu.example/org/lzu/user/li",
        "spiffe://gansu.example/org/lzu/root/li",
        "spiffe://gansu.example/org/LZU/user/li",
        "spiffe://gansu.example/org/../user/li",
        "spiffe://gansu.example/org//user/li",
        "spiffe://gansu.example/org/lzu/user/l%69",
        "spiffe://gansu.example/org/lzu/user/li?x=1",
        "spiffe://gansu.example/org/lzu/user/li#x",
        "spiffe://gansu.example/org/lzu/user/li\n",
        "spiffe://gansu.example/org/lzu/user/ Li",
        "spiffe://gansu.example/org/lzu/user/李",
        "spiffe://gansu.example/org/lzu/user/" + "a" * 64,
        "spiffe://" + "a." * 130 + "example/org/lzu/user/li",
        "spiffe://gansu.example/org/lzu/user/" + "a" * 600,
    ],
)
def test_bad_uris(uri: str) -> None:
    with pytest.raises(PeerError) as refused:
        Identity.parse(uri)
    assert refused.value.code == "identity"


def test_messages_say_what_was_expected() -> None:
    with pytest.raises(PeerError, match=r"expected an identity `spiffe://FEDERATION/org/.*got `x`"):
        Identity.parse("x")
    with pytest.raises(PeerError, match=r"expected a role of user, node, .* got `root`"):
        Identity.parse("spiffe://gansu.example/org/lzu/root/li")
    with pytest.raises(CallError, match=r"the name of an identity has 1 to 63 .* got `\\u674e`"):
        Identity("gansu.example", "lzu", Role.USER, "李")
