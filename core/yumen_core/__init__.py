"""What every role of Yumen shares: protocol, cryptography, policy, plan, log. No network server,
no database."""

__version__ = "0.1.0"
