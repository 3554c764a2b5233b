"""Here so that the folder is on the import path: tests of every room share `builders`."""

import os

from hypothesis import HealthCheck, settings

# Tables are as wide as the terminal: the same under every runner.
os.environ["COLUMNS"] = "100"

# No test depends on how fast the machine is: neither an example's time nor its making counts.
_ANY_MACHINE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("yumen", max_examples=50, **_ANY_MACHINE)
settings.register_profile("long", max_examples=300, **_ANY_MACHINE)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "yumen"))
