"""Local work of a training: the sandbox, the worker inside it, and the trainer that drives them.

The worker imports this package too, so nothing is re-exported here.
"""
