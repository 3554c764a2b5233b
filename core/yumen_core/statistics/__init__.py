"""Statistics as sequences of secure sums: what is signed, what a node computes, what is released.

A statistic is a signed list of *rounds* over declared rows. A round has a kind (`kinds`); the kind
says what one node computes of its own rows, under which supports it may leave, and what its totals
look like. Everything here is pure: arrays in, arrays out.
"""
