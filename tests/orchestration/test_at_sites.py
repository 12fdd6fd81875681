"""A run across sites ends where the same study ends in simulation, and says what each site stated."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import accord
from accord.config.schema import Study
from accord.config.sites_data import SitesData
from accord.core.errors import FederationError, StudyError
from accord.engines.federation.works import works_of
from accord.orchestration.make_ready import Reach, describe_sites, make_ready
from accord.orchestration.prepare import prepare
from accord.orchestration.runs import resume, run
from accord.orchestration.site_study import received_study, sent_study
from engines.federation.sites_in_process import SitesInProcess

SITES = ("east", "north", "west")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of three hospitals of unlike sizes."""
    rng = np.random.default_rng(0)
    lines = ["age,ward,sex,back,hospital"]
    for name, n in zip(SITES, (90, 60, 150), strict=True):
        for _ in range(n):
            age, ward, sex = rng.integers(20, 90), rng.choice(["a", "b"]), rng.choice(["f", "m"])
            back = "yes" if rng.random() < (0.7 if age > 60 else 0.2) else "no"
            lines.append(f"{age},{ward},{sex},{back},{name}")
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def study_of(table: Path) -> Callable[..., Study]:
    def make(engine: str = "federation", **sections: Any) -> Study:
        given: dict[str, Any] = {
            "data": {
                "name": "sites",
                "data_set": "stays",
                "schema": {
                    "target": "back",
                    "ranges": {"age": [18, 100]},
                    "categories": {"ward": ["a", "b"], "back": ["no", "yes"], "sex": ["f", "m"]},
                    "groups": ["sex"],
                },
                "simulation": {"path": str(table), "site": "hospital"},
            },
            "model": {"name": "mlp", "hidden": [4]},
            "training": {"batch_size": 16, "learning_rate": 0.2},
            "program": {"name": "fedavg", "rounds": 3},
            "fairness": {"groups": ["sex", "label"], "positive": "yes"},
            "engine": {"name": engine},
        }
        return Study(**given | sections)

    return make


def reach_of(study: Study, **faults: Any) -> Reach:
    """Sites that hold the rows which stand for theirs in the simulation."""
    there = prepare(study.model_copy(update={"engine": Study(data="digits", engine="sequential").engine}))
    works = works_of(there.program, there.initial, there.population)
    faults = {"groups": there.groups, "positive": there.positive} | faults
    exchange = SitesInProcess(there.federated, there.streams, works, SITES, data_sets=("stays",), **faults)
    return exchange, ("ada", "lab")


@pytest.mark.parametrize("program", ["fedavg", "scaffold", "median"])
def test_it_ends_where_the_simulation_ends(program: str, study_of: Callable[..., Study], tmp_path: Path) -> None:
    sections = {"program": {"name": program, "rounds": 3}}
    across = run(study_of(**sections), tmp_path / "across", reach=reach_of(study_of(**sections)))
    there = run(study_of("sequential", **sections), tmp_path / "there")
    assert all(torch.equal(across.params[name], value) for name, value in there.params.items())
    assert across.outcome is not None
    assert there.outcome is not None
    for path in (("test", "accuracy"), ("test", "loss"), ("test", "balanced_accuracy"), ("test", "n")):
        assert across.outcome.figure(*path) == pytest.approx(there.outcome.figure(*path), rel=1e-12)
    assert across.outcome.fairness is not None
    assert there.outcome.fairness is not None
    assert across.outcome.fairness.groups["sex=f"].n == there.outcome.fairness.groups["sex=f"].n
    assert across.outcome.fairness.worst_group == there.outcome.fairness.worst_group
    assert across.outcome.data.train_rows == there.outcome.data.train_rows
    assert (tmp_path / "across" / "report.html").is_file()


def test_noised_counts_of_sites_give_scores_and_wider_intervals(study_of: Callable[..., Study], tmp_path: Path) -> None:
    outcomes: dict[str, Any] = {}
    for how in ("exact", "noised"):
        outcome = run(study_of(), tmp_path / how, reach=reach_of(study_of(), evaluation=how)).outcome
        assert outcome is not None
        outcomes[how] = outcome.as_json()
    exact, noised = outcomes["exact"], outcomes["noised"]
    for name in ("accuracy", "n", "balanced_accuracy", "majority_share"):
        assert noised["test"][name] == pytest.approx(exact["test"][name])
    assert noised["test"]["loss"] is None
    assert noised["calibration"] is None
    for name, group in exact["fairness"]["groups"].items():
        other = noised["fairness"]["groups"][name]
        assert (other["n"], other["accuracy"]) == (group["n"], group["accuracy"])
        (low, high), (lower, higher) = group["intervals"]["accuracy"], other["intervals"]["accuracy"]
        assert lower <= low
        assert high <= higher
        assert higher - lower > high - low
    assert (tmp_path / "noised" / "report.html").is_file()


def test_a_study_that_nobody_evaluates_does_not_begin(study_of: Callable[..., Study], tmp_path: Path) -> None:
    with pytest.raises(FederationError, match=r"no site lets an evaluation on its test rows leave"):
        run(study_of(), tmp_path / "run", reach=reach_of(study_of(), evaluation="none"))
    assert not (tmp_path / "run").exists()


def test_a_site_that_refuses_later_is_left_out_and_told(study_of: Callable[..., Study], tmp_path: Path) -> None:
    study = study_of()
    done = run(study, tmp_path / "run", reach=reach_of(study, refuses={"north": 2}))
    assert [record.clients for record in done.rounds] == [(0, 1, 2), (0, 2), (0, 2)]
    assert done.outcome is not None
    assert done.outcome.faults.dropped >= 2
    lines = [json.loads(line) for line in (tmp_path / "run" / "sites.jsonl").read_text().splitlines()]
    refusals = [line["outcome"]["message"] for line in lines if line["type"] == "refusal"]
    assert {each["site"] for each in refusals} == {"north"}
    assert refusals[0]["reason"] == "the budget of this data set is spent"


def test_too_few_sites_refuse_before_anything_is_written(study_of: Callable[..., Study], tmp_path: Path) -> None:
    study = study_of()
    with pytest.raises(FederationError, match=r"1 of 3 sites take part, 2 needed: east refuses \(budget\)"):
        run(study, tmp_path / "run", reach=reach_of(study, refuses={"north": 0, "east": 0}))
    assert not (tmp_path / "run").exists()


def test_too_few_sites_stop_a_run_with_what_it_has(study_of: Callable[..., Study], tmp_path: Path) -> None:
    study = study_of()
    done = run(study, tmp_path / "run", reach=reach_of(study, refuses={"north": 3}, silent={"east": 3}))
    assert done.outcome is not None
    assert (done.outcome.status, done.outcome.reason, done.outcome.rounds) == ("stopped", "quorum", 2)
    assert "round 3: 1 of 3 sites are left, 2 needed" in str(done.outcome.message)


def test_a_resumed_run_asks_under_the_same_job(study_of: Callable[..., Study], tmp_path: Path) -> None:
    study = study_of()
    reach = reach_of(study)
    whole = run(study, tmp_path / "whole", reach=reach_of(study))

    def stop_after_two(stage: str, record: Any, planned: int) -> None:
        if record.round == 2:
            raise KeyboardInterrupt

    first = run(study, tmp_path / "run", on_round=stop_after_two, reach=reach)
    assert first.outcome is not None
    assert first.outcome.rounds == 2
    again = resume(tmp_path / "run", reach=reach)
    assert all(torch.equal(again.params[name], value) for name, value in whole.params.items())
    exchange = reach[0]
    assert isinstance(exchange, SitesInProcess)
    asked = [key for key in exchange.worked if key[2] == 0]
    assert len(asked) == len(set(asked)), "no site did a piece of work twice"


def test_a_data_set_that_no_site_offers_is_refused(study_of: Callable[..., Study]) -> None:
    study = study_of()
    study = study.model_copy(update={"data": study.data.model_copy(update={"data_set": "visits"})})
    with pytest.raises(StudyError, match=r"'visits': no site has it; the sites offer stays"):
        make_ready(study, reach=reach_of(study_of()))


def test_without_an_identity_one_line_says_how_to_get_one(
    study_of: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCORD_FEDERATION", str(tmp_path))
    with pytest.raises(FederationError, match="no identity to ask sites with"):
        accord.run(study_of(), tmp_path / "run")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"data": "digits"}, "data digits is read in one place"),
        ({"evaluation": {"predictions": True}}, "evaluation.predictions does not go"),
        ({"evaluation": {"early_stopping": {}}}, "evaluation.early_stopping does not go"),
        ({"evaluation": {"fine_tune": {}}}, "evaluation.fine_tune does not go"),
        ({"attack": {"name": "sign_flip", "fraction": 0.2}}, "attack does not go"),
    ],
)
def test_what_cannot_run_between_organisations_is_refused(
    sections: dict[str, Any], words: str, study_of: Callable[..., Study]
) -> None:
    with pytest.raises(StudyError, match=words):
        make_ready(study_of(**sections), reach=reach_of(study_of()))


def test_a_dry_run_tells_what_each_site_would_do(study_of: Callable[..., Study]) -> None:
    study = study_of()
    told = describe_sites(make_ready(study, reach=reach_of(study, refuses={"north": 0, "east": 0}), willing=False))
    assert told["needed"] == 2
    assert [(each["site"], bool(each["refused"])) for each in told["sites"]] == [
        ("east", True),
        ("north", True),
        ("west", False),
    ]
    assert "the budget of this data set is spent" in told["sites"][0]["refused"]


def test_the_order_of_columns_is_sent_along(study_of: Callable[..., Study]) -> None:
    """Features are in the order in which they are stated, which canonical JSON, whose keys are sorted, would lose."""
    stated = {"ward": ["a", "b"], "back": ["no", "yes"], "sex": ["f", "m"]}
    ranges = {"stay": [0, 60], "age": [18, 100], "bed": [0, 9]}
    schema = {"target": "back", "ranges": ranges, "categories": stated, "groups": ["sex"]}
    study = study_of(data={"name": "sites", "data_set": "stays", "schema": schema})
    received = received_study(sent_study(study))
    assert isinstance(received.data, SitesData)
    assert received.data.schema.feature_names == ("stay", "age", "bed", "ward")
    assert sent_study(received) == sent_study(study)
