"""Differential privacy: what an answer costs, and the noise that pays for it."""

from yumen_core.privacy.budget import DP, Privacy, epsilon_of, rho_of

__all__ = ["DP", "Privacy", "epsilon_of", "rho_of"]
