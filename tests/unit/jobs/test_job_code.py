"""The code that comes with a job: the one that the job names, or none."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from builders.federation import Federation, job_for
from builders.trainings import training
from yumen_core.errors import PeerError
from yumen_core.identity.names import Role
from yumen_core.jobs.code import MAX_BUNDLE_BYTES, check_code
from yumen_core.jobs.spec import JobSpec
from yumen_core.securesum.suite import Suite
from yumen_core.training.spec import BundleCode

BUNDLE = b"the files of a project"
OTHER = "expected the code that the job names, got other code"


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    federation = Federation(tmp_path_factory.mktemp("code"))
    published = [(node, *node.signed()) for node in federation.nodes(3)]
    return job_for(federation.member(Role.USER, "li"), published).spec


def named(query: JobSpec, bundle: bytes) -> JobSpec:
    code = BundleCode(hashlib.sha256(bundle).digest(), "hearts")
    return replace(query, training=training(program=code), suite=Suite.STREAM)


def refusal(spec: JobSpec, bundle: bytes) -> str:
    with pytest.raises(PeerError) as caught:
        check_code(spec, bundle)
    assert caught.value.code == "bundle"
    return caught.value.message


def test_the_code_that_the_job_names(query: JobSpec) -> None:
    check_code(named(query, BUNDLE), BUNDLE)
    largest = bytes(MAX_BUNDLE_BYTES)
    check_code(named(query, largest), largest)


@pytest.mark.parametrize(
    "other", [b"", BUNDLE[:-1], BUNDLE + b"\n", BUNDLE.upper()], ids=["none", "less", "more", "up"]
)
def test_other_code(query: JobSpec, other: bytes) -> None:
    assert refusal(named(query, BUNDLE), other) == OTHER


def test_more_code_than_a_job_may_have(query: JobSpec) -> None:
    """Whether it is the one that is named is not even asked."""
    large = bytes(MAX_BUNDLE_BYTES + 1)
    assert refusal(named(query, large), large) == (
        f"expected code of at most {MAX_BUNDLE_BYTES} bytes, got {MAX_BUNDLE_BYTES + 1}"
    )


def test_a_job_without_code_of_its_own(query: JobSpec) -> None:
    check_code(query, b"")
    assert refusal(query, BUNDLE) == "expected no code with this job, got some"
