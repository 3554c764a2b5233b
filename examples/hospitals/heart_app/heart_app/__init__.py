"""Logistic regression over four hospitals, a Flower app."""
