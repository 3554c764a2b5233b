"""Iris with scikit-learn and messages."""
