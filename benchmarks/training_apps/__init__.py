"""What `benchmarks/training.py` starts beside itself: an app, Flower's own engine, a plain node."""
