"""The register of purposes."""

import pytest
from policy_facts import POLICIES
from yumen_core.errors import StateError
from yumen_core.policy.purposes import Purposes


def entry(name: str, meaning: str = "something") -> str:
    return f"  - name: {name}\n    meaning: {meaning}\n"


def test_the_shipped_register_reads() -> None:
    register = Purposes.from_text((POLICIES / "purposes.yaml").read_text(encoding="utf-8"))
    names = [purpose.name for purpose in register]
    assert names[:4] == ["research", "public-health", "quality-improvement", "insurance-pricing"]
    assert names[4:] == ["yield-planning", "grid-planning", "fraud-prevention"]
    assert "research" in register
    assert "Research" not in register
    assert 3 not in register


def test_names_in_any_script() -> None:
    register = Purposes.from_text("purposes:\n" + entry("医学研究") + entry("étude"))
    assert [purpose.name for purpose in register] == ["医学研究", "étude"]


def test_an_empty_register_registers_nothing() -> None:
    assert list(Purposes.from_text("purposes: []")) == []
    assert "" not in Purposes()


BAD = [
    ("", "expected the one key `purposes`"),
    ("[]", "expected the one key `purposes`"),
    ("purposes: []\nother: 1", "expected the one key `purposes`"),
    ("purposes: {}", "expected `purposes` to be a list of at most 64"),
    ("purposes:\n" + "".join(entry(f"p{n}") for n in range(65)), "a list of at most 64"),
    ("purposes: [research]", "entry 1: expected the keys `name` and `meaning`"),
    ("purposes:\n  - name: a\n", "entry 1: expected the keys `name` and `meaning`"),
    ("purposes:\n" + entry("a") + "    law: x\n", "entry 1: expected the keys"),
    ("purposes:\n" + entry("3"), "entry 1: expected `name` to be text"),
    ("purposes:\n" + entry("yes"), "entry 1: expected `name` to be text"),
    ("purposes:\n" + entry("' '"), "entry 1: expected `name` to be text"),
    ("purposes:\n" + entry("x" * 65), "entry 1: expected `name` of at most 64 characters, got 65"),
    ("purposes:\n" + entry("a", "x" * 401), "expected `meaning` of at most 400 characters"),
    ("purposes:\n" + entry("a") + entry("a"), "purpose `a` is listed twice"),
    ("purposes:\n" + entry("e\u0301tude"), "expected `name` on one line, in NFC"),
    ("purposes:\n" + entry("' a'"), "expected `name` on one line, in NFC, without outer space"),
    ("purposes:\n" + entry("re\u0455earch"), "the word `re\u0455earch` mixes cyrillic and latin"),
    ("purposes:\n" + entry("a\u200bb"), "line 2, column 12: hidden character U+200B"),
    ("purposes:\n" + entry('"\\u202e"'), "entry 1: `name` has a hidden character U+202E"),
    ("purposes: [\n", "line 2, column 1: "),
    ("purposes: []\npurposes: []\n", "line 1, column 1: a key is given twice"),
    ("purposes: !!python/object/apply:os.system [x]", "line 1, column 11: could not determine"),
    ("purposes: " + "[" * 20_000, "expected YAML"),
    ("#" * 65_537, "expected at most 65536 bytes"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_bad_register_is_refused(text: str, message: str) -> None:
    with pytest.raises(StateError) as caught:
        Purposes.from_text(text, file="p.yaml")
    assert caught.value.code == "policy_invalid"
    assert caught.value.message.startswith("purpose register `p.yaml`: ")
    assert message in caught.value.message
