"""Typer imports names that click will drop in a later major version; the rest stays an error."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import typer  # noqa: F401
