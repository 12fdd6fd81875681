"""Live views of a run: a tracker is told of each round as it ends. One file a kind."""

from accord.records.trackers.base import Tracker
from accord.records.trackers.opening import check_trackers, open_trackers
from accord.records.trackers.tensorboard import TensorBoardTracker

__all__ = ["TensorBoardTracker", "Tracker", "check_trackers", "open_trackers"]
