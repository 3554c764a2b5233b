"""Training: what travels, what may be trained, and the ready models.

Only `yumen_core.training.models` loads PyTorch, and nothing here loads Flower.
"""
