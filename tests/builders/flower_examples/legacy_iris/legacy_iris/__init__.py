"""Iris with PyTorch and NumPyClient."""
