"""The study in words: plain sentences on each of its topics, with the exact guarantee and its limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from accord.config.model import CustomModel, LogisticModel, McmahanCnnModel, MlpModel, Model, TfpCnnModel
from accord.config.partition import (
    ContiguousPartition,
    DirichletPartition,
    IidPartition,
    NaturalPartition,
    Partition,
    PathologicalPartition,
    ShardPartition,
    SizePartition,
    SortedPartition,
)
from accord.config.program import CyclicProgram, Program
from accord.config.schema import Study
from accord.reports.holders import Holders, holders
from accord.reports.words import accountant, count, epsilon, known, plain, power


@dataclass(frozen=True)
class Passage:
    """A few plain sentences on one topic of the study."""

    topic: str
    text: str


def in_words(study: Study, result: Mapping[str, Any], partition: Mapping[str, Any]) -> tuple[Passage, ...]:
    """The study in plain sentences: data, clients, model, training, program, guarantee and its limits.

    Args:
        study: the resolved study.
        result: the run's result.
        partition: who holds what.
    """
    held = holders(partition)
    outside = "Outside the guarantee" if result["privacy"] else "What that means"
    return (
        Passage("Data", _data(result)),
        Passage("Who holds what", _holders(study.partition, held)),
        Passage("Model", f"{_model(study.model)} It is trained by cross-entropy."),
        Passage("Training", _training(study, result)),
        Passage("Program", _program(study.program, held.population)),
        Passage("Privacy", _privacy(result["privacy"])),
        Passage(outside, _outside(study, result)),
    )


def _data(result: Mapping[str, Any]) -> str:
    data = result["data"]
    classes = data["classes"] if isinstance(data["classes"], int) else len(data["classes"])
    return (
        f"{plain(data['about'], 600).rstrip('.')}. {count(data['train_rows'])} rows are trained on and "
        f"{count(data['test_rows'])} are kept for testing, in {count(classes, 'class', 'classes')}."
    )


def _holders(chosen: Partition, held: Holders) -> str:
    who = count(held.population, "client")
    match chosen:
        case IidPartition():
            text = f"The training rows are shuffled and dealt in equal parts to {who}."
        case DirichletPartition():
            text = (
                f"The training rows are dealt to {who} with label skew: each class is shared out in "
                f"proportions drawn from Dirichlet(α = {chosen.alpha:g})."
            )
        case ShardPartition():
            text = (
                f"The training rows are sorted by label and cut into shards; each of {who} holds "
                f"{count(chosen.num_shards_per_partition, 'shard')}."
            )
        case PathologicalPartition():
            classes = count(chosen.num_classes_per_partition, "class", "classes")
            text = f"Each of {who} holds rows of {classes} only."
        case SizePartition():
            text = f"The training rows are shuffled and cut into parts of given sizes for {who}."
        case NaturalPartition():
            text = f"One client for each value of “{plain(chosen.partition_by)}”: {who}."
        case ContiguousPartition():
            text = f"The training rows are cut into equal parts in the order of the file, for {who}."
        case SortedPartition():
            text = f"The training rows are sorted by label and cut into equal parts for {who}."
        case _:
            assert_never(chosen)
    if not held.population:
        return text
    low, high = held.fewest, held.most
    if low == high:
        return f"{text} Each holds {count(low, 'row')}."
    return f"{text} They hold from {count(low)} to {count(high)} rows, {count(held.median)} at the median."


def _model(model: Model) -> str:
    match model:
        case LogisticModel():
            return "Softmax regression: one dense layer from the input to the classes."
        case MlpModel():
            widths = ", ".join(count(width) for width in model.hidden)
            if not widths:
                return "A single dense layer from the input to the classes."
            return f"A multilayer perceptron with ReLU and hidden layers of width {widths}."
        case TfpCnnModel():
            return "The convolutional network of TensorFlow Privacy's MNIST example, 26,010 parameters."
        case McmahanCnnModel():
            return "The convolutional network of McMahan et al. 2017, 1,663,370 parameters."
        case CustomModel():
            return f"The user's own network, {plain(model.function)}."


def _training(study: Study, result: Mapping[str, Any]) -> str:
    work = study.training
    if work.local_steps is not None:
        amount = count(work.local_steps, "local step")
    else:
        epochs = work.local_epochs or 1
        amount = "one pass over its rows" if epochs == 1 else f"{epochs} passes over its rows"
    privacy = result["privacy"]
    if privacy and privacy["unit"] != "client" and work.batch_size != "full" and work.local_steps is None:
        amount = f"as many steps as {amount} would take,"
    if work.batch_size == "full":
        batches = "with all its rows in every step"
    elif privacy and privacy["unit"] != "client":
        batches = f"in batches drawn by Poisson sampling, {work.batch_size} rows expected in each"
    else:
        batches = f"in batches of {count(work.batch_size, 'row')}"
    extras = [f"learning rate {work.learning_rate:g}"]
    extras += [f"momentum {work.momentum:g}"] if work.momentum else []
    extras += [f"weight decay {work.weight_decay:g}"] if work.weight_decay else []
    optimizer = {"sgd": "SGD", "adam": "Adam"}[work.optimizer]
    return f"In a round, each client does {amount} {batches}, by {optimizer} ({', '.join(extras)})."


def _program(program: Program, population: int) -> str:
    rounds = count(program.rounds, "round")
    everyone = program.cohort_size is None or program.cohort_size >= population
    if isinstance(program, CyclicProgram):
        whom = "every client" if everyone else f"{program.cohort_size} of the {count(population, 'client')}"
        order = "in an order drawn anew each round" if program.order == "shuffled" else "by number"
        return f"Cyclic: in each of {rounds} the model hops through {whom}, {order}. Nothing is averaged."
    if everyone and program.cohort_sampling == "fixed":
        whom = "all clients take part"
    elif program.cohort_sampling == "poisson":
        whom = f"each client takes part independently, {program.cohort_size} of {count(population)} expected"
    else:
        whom = f"{program.cohort_size} of {count(population, 'client')} are drawn without replacement"
    weights = "weighed alike" if program.weights == "uniform" else "weighed by their client's rows"
    weights += f", {count(program.weight_cap)} rows at most" if program.weight_cap else ""
    return f"Federated averaging (McMahan et al. 2017): in each of {rounds} {whom}, and updates are {weights}."


def _privacy(privacy: Mapping[str, Any] | None) -> str:
    if privacy is None:
        return "None. Nothing in this run is differentially private."
    budget = f" of a budget of {epsilon(privacy['budget'])}" if known(privacy["budget"]) else ""
    spent = f"ε = {epsilon(privacy['epsilon'])}{budget} at δ = {power(privacy['delta'])}"
    by = accountant(privacy["accountant"])
    relation = plain(privacy["neighbouring_relation"])
    if privacy["unit"] == "client":
        change = {
            "add_remove": "in one whole client, added or removed",
            "replace_one": "in one whole client, replaced by another",
        }.get(relation, f"in one whole client ({relation})")
        return (
            f"{_mechanism(privacy)} The models after every round together are (ε, δ)-differentially private, "
            f"where neighbouring populations differ {change}: {spent}, composed over the rounds by {by}."
        )
    change = {
        "add_remove": "in one row of that client, added or removed",
        "replace_one": "in one row of that client, replaced by another",
    }.get(relation, f"in one row of that client ({relation})")
    each = privacy["per_client"]
    return (
        f"{_mechanism(privacy)} What a client sends over the whole run is (ε, δ)-differentially private, "
        f"where neighbouring data sets differ {change}. Each client has an ε of its own, composed by {by} "
        f"over the rounds it really took part in. The worst client spent {spent}, the median "
        f"{epsilon(each['median'])}, the least {epsilon(each['min'])}."
    )


def _mechanism(privacy: Mapping[str, Any]) -> str:
    clip = f"{privacy['clip_norm']:g}"
    noise = f"Gaussian noise of {privacy['noise_multiplier']:.3g} times that bound is added"
    match privacy["unit"]:
        case "sample":
            return f"Each sample's gradient is clipped to L2 norm {clip}, and {noise} in every local step."
        case "batch":
            return (
                f"Each batch's mean gradient is clipped to L2 norm {clip}, and {noise} in every local step. "
                "One sample can turn a clipped mean around, so the sensitivity is twice the bound, "
                f"{privacy['sensitivity']:g}, and is accounted so."
            )
        case "client":
            return f"Each client's whole update is clipped to L2 norm {clip}, and {noise} to the server's sum."
        case unit:
            return f"Unit {plain(unit)}: clipped to L2 norm {clip}, and {noise}."


def _outside(study: Study, result: Mapping[str, Any]) -> str:
    privacy = result["privacy"]
    if privacy is None:
        return "Updates can reveal the rows they were computed from; no ε bounds how much."
    facts = []
    if privacy["noise_source"] == "simulated":
        facts.append(
            "The noise comes from the study's seed, so that the run can be repeated: whoever knows the seed "
            "can take it away again. The guarantee is the mechanism's, not that of this simulation's files."
        )
    if privacy["unit"] == "client":
        facts.append("What each client sends before the server adds noise is seen by the server.")
    else:
        facts.append(
            "Someone with several rows, or rows at several clients, is protected less than ε says. "
            "Which clients took part, and how many rows each holds, is not hidden."
        )
    facts.append(
        "The records show which clients and how many rows were drawn in each round, which ε assumes to stay secret. "
        "Arithmetic is in finite precision, which ε does not account for."
    )
    facts.append("Scores are exact counts on test rows, which nobody trained on, and are not noised.")
    facts.append("This report's counts of who held what are exact, as only a simulation can show them.")
    facts.append("Settings chosen by looking at earlier runs are not charged.")
    if study.evaluation.twin:
        facts.append("The twin without privacy is there for comparison and must not be released.")
    return " ".join(facts)
