from collections.abc import Callable
from typing import Any

import pytest

from accord.config.schema import Study
from accord.reports.words.description import in_words
from reports.examples import result_of

Make = Callable[[str], dict[str, Any]]


def _texts(example: dict[str, Any]) -> dict[str, str]:
    paragraphs = in_words(example["study"], result_of(example), example["partition"])
    return {paragraph.topic: paragraph.text for paragraph in paragraphs}


def test_every_run_is_put_in_words_without_a_gap(example: dict[str, Any]) -> None:
    texts = _texts(example)
    assert {"Data", "Partition", "Model", "Training", "Program", "Privacy"} <= set(texts)
    for text in texts.values():
        assert text.endswith((".", ")")), text
        assert "None" not in text.removeprefix("None. Nothing")
        assert "nan" not in text.split()


def test_the_guarantee_is_exact(make: Make) -> None:
    text = _texts(make("private"))["Privacy"]
    for said in (
        "one row of that client, added or removed",
        "ε = 1.96 of a budget of 2.00",
        "δ = 10⁻⁵",
        "Rényi (RDP)",
        "Each sample's gradient is clipped to L2 norm 1",
        "noise of 1.12 times",
    ):
        assert said in text


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("exact", "and are not noised"),
        ("noised", "so that ε covers them, too"),
        ("mixed", "Some sites sent exact sums instead, which ε does not cover"),
    ],
)
def test_what_scores_rest_on_is_said(make: Make, kind: str, said: str) -> None:
    example = make("private")
    example["result"]["privacy"]["test_rows"] = kind
    outside = next(text for text in _texts(example).values() if "finite precision" in text)
    assert said in outside


def test_the_unit_client_promises_whole_clients_under_its_own_relation(make: Make) -> None:
    text = _texts(make("client_unit"))["Privacy"]
    assert "one whole client, replaced by another" in text
    assert "whole update" in text
    assert "one row" not in text


def test_the_unit_batch_owns_up_to_its_sensitivity(make: Make) -> None:
    example = make("private")
    example["result"]["privacy"] |= {"unit": "batch", "sensitivity": 2.0}
    assert "twice the bound, 2" in _texts(example)["Privacy"]


def test_a_relation_it_does_not_know_is_named_not_guessed(make: Make) -> None:
    example = make("private")
    example["result"]["privacy"]["neighbouring_relation"] = "zero_out"
    assert "(zero_out)" in _texts(example)["Privacy"]


def test_limits_of_the_guarantee(make: Make) -> None:
    outside = _texts(make("private"))["Outside the guarantee"]
    assert "whoever knows the seed" in outside
    assert "twin" in outside
    example = make("private")
    example["result"]["privacy"]["noise_source"] = "system"
    assert "seed" not in _texts(example)["Outside the guarantee"]
    assert "no ε bounds how much" in _texts(make("plain"))["What that means"]


def test_it_says_whether_scores_are_of_noised_counts(make: Make) -> None:
    example = make("private")
    assert "Scores are exact counts" in _texts(example)["Outside the guarantee"]
    example["result"]["privacy"]["noise_source"] = "site"
    assert "owners let them leave so: no ε covers them" in _texts(example)["Outside the guarantee"]
    example["result"]["test"]["count_noise"] = 13.86
    said = _texts(example)["Outside the guarantee"]
    assert "standard deviation of 13.9 on each count" in said
    assert "exact counts" not in said
    assert "Some sites sent exact sums" not in said
    example["result"]["privacy"]["test_rows"] = "mixed"
    assert "Some sites sent exact sums" in _texts(example)["Outside the guarantee"]
    plain = make("plain")
    plain["result"]["test"]["count_noise"] = 13.86
    assert "noised at the sites" in _texts(plain)["What that means"]


@pytest.mark.parametrize(
    ("partition", "said"),
    [
        ({"name": "iid"}, "equal parts"),
        ({"name": "dirichlet", "alpha": 0.25}, "Dirichlet(α = 0.25)"),
        ({"name": "shard", "num_shards_per_partition": 3}, "3 shards"),
        ({"name": "pathological", "num_classes_per_partition": 1}, "1 class only"),
        ({"name": "size", "partition_sizes": [3, 4]}, "given sizes"),
        ({"name": "linear"}, "proportional to k."),
        ({"name": "square"}, "proportional to k²."),
        ({"name": "exponential"}, "proportional to eᵏ."),
        ({"name": "inner-dirichlet", "alpha": 0.25}, "in equal numbers, with label skew"),
        ({"name": "inner-dirichlet", "partition_sizes": [3, 4]}, "of given sizes"),
        ({"name": "inner-dirichlet", "quantity": "linear"}, "grow as k, the client's own number"),
        ({"name": "inner-dirichlet", "quantity": "dirichlet", "size_alpha": 2.0}, "drawn from Dirichlet(2)"),
        ({"name": "inner-dirichlet", "quantity": "log-normal"}, "log-normal distribution (σ = 1)"),
        ({"name": "inner-dirichlet-parallel", "alpha": (0.5, 2.0)}, "Dirichlet(α from 0.5 to 2, one a class)"),
        ({"name": "dirichlet", "num_partitions": 2, "alpha": (0.5, 2.0)}, "α from 0.5 to 2, one a client"),
        ({"name": "natural", "partition_by": "label"}, "“label”"),
        ({"name": "grouped-natural", "partition_by": "label", "group_size": 2}, "The values of “label” are grouped"),
        ({"name": "continuous", "strictness": 0.5}, "sorted by “target” blended with noise (strictness 0.5)"),
        ({"name": "distribution", "distribution": ((1.0,),)}, "rows of 2 classes, in numbers"),
        ({"name": "contiguous"}, "order of the file"),
        ({"name": "sorted"}, "sorted by label"),
    ],
)
def test_every_partition_has_its_words(make: Make, partition: dict[str, Any], said: str) -> None:
    example = make("plain")
    example["study"] = Study.model_validate({"data": {"name": "digits"}, "partition": partition})
    assert said in _texts(example)["Partition"]


@pytest.mark.parametrize(
    ("sections", "topic", "said"),
    [
        ({"model": {"name": "logistic"}}, "Model", "Softmax regression"),
        ({"model": {"name": "mlp", "hidden": [64, 32]}}, "Model", "64, 32"),
        ({"model": {"name": "tfp_cnn"}}, "Model", "26,010"),
        ({"model": {"name": "mcmahan_cnn"}}, "Model", "1,663,370"),
        ({"model": {"name": "custom", "function": "mine:net"}}, "Model", "mine:net"),
        ({"training": {"local_steps": 5, "optimizer": "adam"}}, "Training", "5 local steps"),
        ({"training": {"batch_size": "full", "local_epochs": 3}}, "Training", "3 passes over its rows with all its"),
        ({"program": {"name": "cyclic", "order": "shuffled"}}, "Program", "order drawn anew"),
        (
            {"trackers": [{"name": "tensorboard"}, {"name": "wandb", "project": "p", "online": True}]},
            "Trackers",
            "What each round came to was sent as it ended, for Weights & Biases (project p).",
        ),
        (
            {"trackers": [{"name": "wandb"}]},
            "Trackers",
            "was sent or kept as WANDB_MODE says, for Weights & Biases (the project of WANDB_PROJECT, else accord).",
        ),
        ({"trackers": [{"name": "mlflow"}]}, "Trackers", "kept in the run folder, for MLflow (experiment accord)"),
        ({"program": {"name": "fedavg", "cohort_size": 3, "weights": "uniform"}}, "Program", "3 of 8 clients"),
        (
            {"program": {"name": "fedavg", "cohort_size": 3, "cohort_sampling": "poisson", "weight_cap": 50}},
            "Program",
            "3 of 8 expected, and updates are weighed by their client's rows, 50 rows at most",
        ),
    ],
)
def test_settings_show_in_the_words(make: Make, sections: dict[str, Any], topic: str, said: str) -> None:
    example = make("plain")
    example["study"] = Study.model_validate({"data": {"name": "digits"}, **sections})
    assert said in _texts(example)[topic]


def test_what_else_is_judged_is_told(make: Callable[[str], dict[str, Any]]) -> None:
    def told(kind: str) -> dict[str, str]:
        example = make(kind)
        paragraphs = in_words(example["study"], result_of(example), example["partition"])
        return {paragraph.topic: paragraph.text for paragraph in paragraphs}

    assert "Evaluation" not in told("plain")
    said = told("judged")["Evaluation"]
    assert "10% of the test rows are held out: where the loss on these is not better in 3 evaluations in a row" in said
    assert "each of 9 clients drawn at random trains the model further on its own rows (2 epochs)" in said


JOINT = {"ledger": "/data/adult.ledger", "run": "5f0c", "runs": 3, "own": {"min": 0.5, "median": 0.6, "max": 0.701}}


def test_on_a_joint_ledger_it_says_whose_epsilon_is_told(make: Make) -> None:
    example = make("private")
    assert "ledger" not in _texts(example)["Privacy"]
    example["result"]["privacy"]["joint"] = JOINT
    texts = _texts(example)
    for said in ("what 2 earlier runs on the same rows charged", "/data/adult.ledger", "by itself comes to ε = 0.701"):
        assert said in texts["Privacy"]
    assert "Runs on the same rows that were not charged" in texts["Outside the guarantee"]
    assert "are not charged." in _texts(make("private"))["Outside the guarantee"]


@pytest.mark.parametrize("name", ["sorted", "shard"])
def test_rows_with_a_number_to_predict_are_sorted_by_it(make: Make, name: str) -> None:
    example = make("numbers")
    partition = {"name": name, "num_partitions": 10} | ({"num_shards_per_partition": 2} if name == "shard" else {})
    study = Study.model_validate(example["study"].model_dump(mode="json") | {"partition": partition})
    assert "sorted by target and cut" in _texts(example | {"study": study})["Partition"]
