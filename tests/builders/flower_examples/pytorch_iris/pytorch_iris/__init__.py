"""Iris with PyTorch and messages."""
