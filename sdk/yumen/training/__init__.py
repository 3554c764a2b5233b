"""Training with Flower's strategies over secure sums.

Importing this loads neither Flower nor PyTorch: `train` and `run_app` do when they are called.
"""

from yumen.training.aggregate import Aggregate, Rounds, content_digest
from yumen.training.journal import Journal, find_journal, trainings_folder
from yumen.training.progress import RoundReport
from yumen.training.project import parse_settings
from yumen.training.result import TrainingResult
from yumen.training.running import TrainingRun
from yumen.training.train import run_app, train

__all__ = [
    "Aggregate",
    "Journal",
    "RoundReport",
    "Rounds",
    "TrainingResult",
    "TrainingRun",
    "content_digest",
    "find_journal",
    "parse_settings",
    "run_app",
    "train",
    "trainings_folder",
]
