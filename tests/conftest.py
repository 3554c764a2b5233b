"""Here so that the folder is on the import path: tests of every room share `builders`."""

import os

# Tables are as wide as the terminal: the same under every runner.
os.environ["COLUMNS"] = "100"
