import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from identity_world import Federation, new_federation


@pytest.fixture
def federation() -> Federation:
    return new_federation()


@pytest.fixture
def stranger() -> Federation:
    """Another authority that claims the same federation name."""
    return new_federation()


@pytest.fixture(scope="session")
def p384() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())
