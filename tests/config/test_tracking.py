"""The list of trackers: short forms, and one line for what is wrong."""

import pytest

from accord.config.load import dump_study, parse_study
from accord.config.tracking import MlflowTracking, TensorBoardTracking, WandbTracking
from accord.core.errors import StudyError

TENSORBOARD = TensorBoardTracking(name="tensorboard")


@pytest.mark.parametrize(
    ("text", "trackers"),
    [
        ("", (TENSORBOARD,)),
        ("trackers: null", (TENSORBOARD,)),
        ("trackers: []", ()),
        ("trackers: wandb", (WandbTracking(name="wandb"),)),
        ("trackers: {name: mlflow, experiment: e}", (MlflowTracking(name="mlflow", experiment="e"),)),
        (
            "trackers: [tensorboard, {name: wandb, project: p, entity: t, group: g, online: true}, mlflow]",
            (
                TENSORBOARD,
                WandbTracking(name="wandb", project="p", entity="t", group="g", online=True),
                MlflowTracking(name="mlflow"),
            ),
        ),
    ],
)
def test_what_a_user_may_write(text: str, trackers: tuple[object, ...]) -> None:
    study = parse_study(f"data: digits\n{text}")
    assert study.trackers == trackers
    assert parse_study(dump_study(study)) == study


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trackers: [wandbb]", "study:2: trackers[0].name: unknown tracker 'wandbb'; did you mean 'wandb'?"),
        (
            "trackers:\n- tensorboard\n- name: wandb\n  projct: x",
            "study:5: trackers[1].projct: unknown key; did you mean 'project'? "
            "(wandb takes: project, entity, group, online)",
        ),
        ("trackers: [{name: wandb, experiment: x}]", "trackers[0].experiment: unknown key; it belongs to mlflow"),
        ("trackers: [wandb, mlflow, wandb]", "study:2: trackers: wandb is named twice; name each tracker once"),
        ("trackers: [3]", "trackers[0]: expected a section of keys and values, got 3"),
        ("trackers: [{project: x}]", "trackers[0]: 'name' is missing; give one of: tensorboard, wandb, mlflow"),
        ("trackers: [{name: 3}]", "trackers[0].name: expected one of tensorboard, wandb, mlflow, got 3"),
        ("trackers: [{name: mlflow, online: 1}]", "trackers[0].online: expected true or false, got 1"),
    ],
)
def test_what_is_wrong_is_one_line(text: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_study(f"data: digits\n{text}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_set_replaces_the_list() -> None:
    text = "data: digits\ntrackers: [tensorboard]"
    assert parse_study(text, ["trackers=wandb"]).trackers == (WandbTracking(name="wandb"),)
    assert parse_study(text, ["trackers=[mlflow, {name: wandb, project: p}]"]).trackers == (
        MlflowTracking(name="mlflow"),
        WandbTracking(name="wandb", project="p"),
    )
    with pytest.raises(StudyError, match=r"--set trackers\.project=p: trackers holds a value, not a section"):
        parse_study(text, ["trackers.project=p"])
