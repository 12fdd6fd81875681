"""A site does what its client in a simulation does, and states under privacy nothing that noise does not cover."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from accord.config.schema import Study
from accord.core.params import Params
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.orchestration.evaluation_sums import add_sums, evaluation_sums
from accord.orchestration.prepare import prepare as prepare_simulation
from accord.orchestration.prepared import Prepared
from accord.program.base import Cohort
from accord.program.evaluate import evaluate
from accord.sites.bindings import read_binding, site_rows
from accord.sites.evaluation import noised_counts, site_sums
from accord.sites.refused import RefusedError
from accord.sites.work import SiteWork, losses, prepare, train
from sites.hospitals import PRIVATE, SITES, Hospitals, received, study_of


def at_site(hospitals: Hospitals, study: Study, name: str) -> SiteWork:
    study = received(study)
    rows = site_rows(read_binding(hospitals.bindings[name]), study.data, name, SITES)  # type: ignore[arg-type]
    return prepare(study, rows, SITES.index(name))


def simulated(study: Study) -> tuple[Prepared, FederatedData]:
    there = prepare_simulation(study)
    return there, there.federated


def test_a_site_has_the_rows_of_its_client(hospitals: Hospitals) -> None:
    study = study_of(hospitals)
    _, pooled = simulated(study)
    for client, name in enumerate(SITES):
        site = at_site(hospitals, study, name)
        own = site.federated.train.rows(client)
        assert torch.equal(site.federated.data.train.x[own], pooled.data.train.x[pooled.train.rows(client)])
        assert torch.equal(site.federated.data.train.y[own], pooled.data.train.y[pooled.train.rows(client)])
        assert torch.equal(site.federated.data.test.x, pooled.data.test.x[pooled.test.rows(client)])
        assert [site.federated.train.size(other) for other in range(3) if other != client] == [0, 0]


PROGRAMS: list[dict[str, Any]] = [
    {"name": "fedavg"},
    {"name": "fedprox", "mu": 0.1},
    {"name": "scaffold"},
    {"name": "fednova"},
    {"name": "ditto"},
    {"name": "median"},
    {"name": "qffl"},
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: each["name"])
def test_a_round_at_the_sites_is_the_round_of_the_simulation(program: dict[str, Any], hospitals: Hospitals) -> None:
    """Two rounds, so that what a site carries from one to the next is there, too."""
    study = study_of(hospitals, program={**program, "rounds": 2})
    there, pooled = simulated(study)
    sites = {name: at_site(hospitals, study, name) for name in SITES}
    kept: dict[str, Params] = {name: {} for name in SITES}

    class AtSites(Sequential):
        """The reference engine, whose clients are asked at their sites instead."""

        def run_cohort(self, work: Any, cohort: Any, shared: Params, round_number: int) -> Any:
            number = next(k for k, own in enumerate(there_works) if own is work or own.rule == work.rule)
            for client in cohort:
                name = SITES[client]
                done = train(sites[name], number, shared, round_number, kept[name])
                kept[name] = done.carried
                expected = next(iter(super().run_cohort(work, [client], shared, round_number)))
                for key, value in expected.update.items():
                    assert torch.allclose(done.update[key], value, rtol=1e-5, atol=1e-6), (name, key)
                assert (done.values["steps"], done.values["samples"]) == (expected.steps, expected.samples)
                yield expected

        def client_losses(self, work: Any, cohort: Any, shared: Params) -> list[float]:
            number = next(k for k, own in enumerate(there_works) if own is work or own.rule == work.rule)
            expected = super().client_losses(work, cohort, shared)
            found = [losses(sites[SITES[client]], number, shared)["loss"] for client in cohort]
            assert found == pytest.approx(expected, rel=1e-6)
            return expected

    there_works = sites["east"].own.works.works
    engine = AtSites(pooled, there.streams)
    state = there.program.init(there.initial)
    for number in (1, 2):
        state, _ = there.program.round(state, Cohort(number, (0, 1, 2)), engine, there.streams)


def test_sums_over_the_sites_are_those_of_all_rows(hospitals: Hospitals) -> None:
    study = study_of(hospitals)
    there, pooled = simulated(study)
    parts = [site_sums(at_site(hospitals, study, name), there.initial) for name in SITES]
    answers = evaluate(there.work.task, there.initial, pooled.data.test, 1000)
    whole = evaluation_sums(replace(answers, positive=there.positive), there.groups, 2, 15)
    together = add_sums(parts)
    assert together.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.allclose(together[name], value, rtol=1e-12, atol=1e-9), name
    assert int(together["n"]) == len(pooled.data.test)


def test_a_column_with_a_small_group_is_withheld_whole(hospitals: Hospitals) -> None:
    site = at_site(hospitals, study_of(hospitals), "north")
    params = site.own.task.init()
    open_ = site_sums(site, params)
    n, largest = int(open_["n"]), int(open_["0/sums/n"].max())
    assert open_["0/sums/n"].sum() == n > largest
    kept = site_sums(site, params, least_group=largest + 1)
    assert all(not value.any() for name, value in kept.items() if name.startswith(("0/", "1/")))
    assert kept["n"] == n


def test_sums_of_few_test_rows_are_withheld_whole(hospitals: Hospitals) -> None:
    site = at_site(hospitals, study_of(hospitals), "north")
    params = site.own.task.init()
    n = int(site_sums(site, params)["n"])
    assert site_sums(site, params, least_group=n)["n"] == n
    with pytest.raises(RefusedError, match=f"fewer than {n + 1} test rows"):
        site_sums(site, params, least_group=n + 1)


@pytest.mark.parametrize("unit", ["sample", "batch", "local"])
def test_noise_is_new_each_time_and_no_private_count_is_stated(unit: str, hospitals: Hospitals) -> None:
    site = at_site(hospitals, study_of(hospitals, privacy={**PRIVATE, "unit": unit, "delta": 1e-3}), "east")
    shared = site.own.task.init()
    first, second = (train(site, 0, shared, 1) for _ in range(2))
    assert all(not torch.equal(value, second.update[name]) for name, value in first.update.items())
    # Rows in batches of 16, 65 to 79 of them: five steps of a pass, and 80 rows expected in them, whatever was drawn.
    # Under unit local batches are shuffled passes, and no noise hides how many rows there are from its own statement.
    assert first.values == second.values
    assert first.values["steps"] == 5
    assert 64 < site.rows < 80
    assert first.values["samples"] == (site.rows if unit == "local" else 80)
    assert first.values["unclipped"] is None


def test_private_updates_have_the_noise_of_the_sites_own_plan(hospitals: Hospitals) -> None:
    privacy = {**PRIVATE, "clip_norm": 1e-3, "noise_multiplier": 50.0}
    site = at_site(hospitals, study_of(hospitals, privacy=privacy, training={"batch_size": 16}), "east")
    assert site.own.plan is not None
    updates = [train(site, 0, site.own.task.init(), number).update for number in range(1, 41)]
    values = np.concatenate([torch.cat([each.flatten() for each in update.values()]).numpy() for update in updates])
    # Five steps of SGD at rate 0.1, each with noise of std 50 * 1e-3 over a batch of 16 expected rows.
    assert values.std() == pytest.approx(0.1 * 5**0.5 * 50e-3 / 16, rel=0.1)


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ({"privacy": {**PRIVATE, "unit": "client"}}, "unit"),
        ({"privacy": {**PRIVATE, "delta": 0.5}}, "delta"),
    ],
)
def test_a_study_that_no_site_can_see_to_is_refused(sections: dict[str, Any], code: str, hospitals: Hospitals) -> None:
    program = {"name": "fedavg", "rounds": 3, "weights": "uniform"}
    with pytest.raises(RefusedError) as refused:
        at_site(hospitals, study_of(hospitals, program=program, **sections), "east")
    assert refused.value.code == code


def test_parameters_that_are_not_the_models_are_refused(hospitals: Hospitals) -> None:
    site = at_site(hospitals, study_of(hospitals), "east")
    shared = site.own.task.init()
    for wrong in (
        {**shared, "more": torch.zeros(1)},
        {name: value.double() for name, value in shared.items()},
        {name: value * float("nan") for name, value in shared.items()},
        {name: value[..., :1] for name, value in shared.items()},
    ):
        with pytest.raises(RefusedError) as refused:
            train(site, 0, wrong, 1)
        assert refused.value.code == "model"
    with pytest.raises(RefusedError) as refused:
        train(site, 7, shared, 1)
    assert refused.value.code == "program"


def test_losses_are_refused_under_privacy(hospitals: Hospitals) -> None:
    site = at_site(hospitals, study_of(hospitals, privacy=PRIVATE), "east")
    with pytest.raises(RefusedError) as refused:
        losses(site, 0, site.own.task.init())
    assert refused.value.code == "unit"


def test_noised_counts_are_the_counts_and_gaussian_noise_of_the_stated_deviation(hospitals: Hospitals) -> None:
    study = study_of(hospitals)
    site = at_site(hospitals, study, "west")
    params = site.own.task.init()
    exact = site_sums(site, params)
    found = [noised_counts(site, params, 50.0, -(10**9)) for _ in range(300)]
    # Two group columns, one of them the label: a row adds 1 to a cell of each of three arrays.
    assert [std for _, std in found] == pytest.approx([50 * 3**0.5] * 300, rel=1e-3)
    for name in ("0/confusion", "1/confusion"):
        noise = torch.stack([counts[name] for counts, _ in found]) - exact[name]
        assert float(noise.std()) == pytest.approx(found[0][1], rel=0.1)
        assert abs(float(noise.mean())) < 4 * found[0][1] / noise.numel() ** 0.5
    assert not torch.equal(found[0][0]["confusion"], found[1][0]["confusion"])


def test_small_groups_have_no_noised_counts(hospitals: Hospitals) -> None:
    site = at_site(hospitals, study_of(hospitals), "west")
    counts, _ = noised_counts(site, site.own.task.init(), 0.01, 1000)
    assert not counts["0/confusion"].any()
    assert counts["confusion"].sum() > 20


def test_noised_evaluations_are_of_classes(hospitals: Hospitals) -> None:
    site = at_site(hospitals, study_of(hospitals), "west")
    odd: Any = SimpleNamespace(federated=SimpleNamespace(data=SimpleNamespace(class_names=())))
    with pytest.raises(RefusedError, match="ask the owner for exact sums"):
        noised_counts(odd, site.own.task.init(), 8.0, 1)
