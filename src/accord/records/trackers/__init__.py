"""Trackers, which receive each round as it ends for live views of a run. There is one module per kind of tracker."""

from accord.records.trackers.base import Tracker
from accord.records.trackers.opening import check_trackers, open_trackers
from accord.records.trackers.tensorboard import TensorBoardTracker

__all__ = ["TensorBoardTracker", "Tracker", "check_trackers", "open_trackers"]
