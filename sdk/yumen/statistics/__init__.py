"""Statistics over a federated table, each from released totals alone."""
