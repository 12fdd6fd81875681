"""The `trackers` section, which names the tools that show a run's rounds while it goes on."""

from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from accord.config.base import Flag, Section


class TrackingSection(Section):
    """The base of every tracker."""

    def describe(self) -> str:
        """Describes where rounds are shown beside the run folder's own events. Empty for a tracker of these alone."""
        return ""


class TensorBoardTracking(TrackingSection):
    """TensorBoard's event files in the run folder."""

    name: Literal["tensorboard"]


class WandbTracking(TrackingSection):
    """Weights & Biases; needs the extra `wandb`. Its key is taken from WANDB_API_KEY alone."""

    name: Literal["wandb"]
    project: str | None = None
    """The project that the run is filed under; null takes WANDB_PROJECT, else `accord`."""
    entity: str | None = None
    """The user or team that the project belongs to; null takes WANDB_ENTITY, else the key's owner."""
    group: str | None = None
    """What Weights & Biases groups runs by, such as the seeds of one study; null takes WANDB_RUN_GROUP."""
    online: Flag | None = None
    """Send rounds as they end, or keep them in the run folder for `wandb sync`; null does as WANDB_MODE says, and
    keeps them where that is not set."""

    def describe(self) -> str:
        """Describes where rounds are shown."""
        how = "sent or kept as WANDB_MODE says" if self.online is None else _sent(self.online)
        project = f"project {self.project}" if self.project else "the project of WANDB_PROJECT, else accord"
        return f"{how}, for Weights & Biases ({project})"


class MlflowTracking(TrackingSection):
    """MLflow; needs the extra `mlflow`. Its server is taken from MLFLOW_TRACKING_URI alone."""

    name: Literal["mlflow"]
    experiment: str = "accord"
    """The experiment that the run is filed under; made where there is none of the name."""
    online: Flag = False
    """Send rounds to the server as they end; otherwise they are kept in a file store in the run folder."""

    def describe(self) -> str:
        """Describes where rounds are shown."""
        return f"{_sent(self.online)}, for MLflow (experiment {self.experiment})"


def _sent(online: bool) -> str:
    return "sent as it ended" if online else "kept in the run folder"


Tracking = Annotated[TensorBoardTracking | WandbTracking | MlflowTracking, Field(discriminator="name")]


def _each_once(trackers: tuple[Tracking, ...]) -> tuple[Tracking, ...]:
    twice = [name for name, n in Counter(each.name for each in trackers).items() if n > 1]
    if twice:
        raise ValueError(f"{twice[0]} is named twice; name each tracker once")
    return trackers


Trackers = Annotated[tuple[Tracking, ...], AfterValidator(_each_once)]
