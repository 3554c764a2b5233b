"""Fails before it has an app."""

from flwr.clientapp import ClientApp

app = ClientApp()
raise LookupError("a text of the app")
