"""Here so that the folder is on the import path: tests of every room share `builders`."""
