"""Describes the study in plain sentences on each of its topics, with the exact guarantee and its limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accord.config.evaluation import Evaluation
from accord.config.partition import PartitionSection
from accord.config.schema import Study
from accord.config.tracking import TrackingSection
from accord.config.training import Schedule
from accord.records.partition_record import Holders, holders
from accord.records.result_parts import PrivacyResult
from accord.records.run_result import RunResult
from accord.reports.scoring import Scoring, scoring
from accord.reports.words.attack_text import attacked
from accord.reports.words.formatting import accountant, count, epsilon, known, labelled, plain, power
from accord.reports.words.imbalance_text import imbalance_text
from accord.reports.words.model_text import model_in_words
from accord.reports.words.program_text import program_text


@dataclass(frozen=True)
class Paragraph:
    """A few plain sentences on one topic of the study."""

    topic: str
    text: str


def in_words(study: Study, result: RunResult, partition: Mapping[str, Any]) -> tuple[Paragraph, ...]:
    """Describes a study: data, clients, model, training, program, guarantee and its limits.

    Args:
        study: the resolved study.
        result: the run's result.
        partition: the rows of each client.
    """
    summary, kind = holders(partition), scoring(result)
    outside = "Outside the guarantee" if result.privacy else "What that means"
    return (
        Paragraph("Data", " ".join(filter(None, [_data(result), _units(study, kind), imbalance_text(partition)]))),
        Paragraph("Partition", _holders(study.partition, summary, "target" if kind.numbers else "label")),
        Paragraph(
            "Model",
            f"{model_in_words(study.model, study.privacy is not None, kind.numbers)} "
            f"It is trained by {_loss(study) or kind.loss}.",
        ),
        Paragraph("Training", _training(study, result)),
        Paragraph("Program", program_text(study.program, summary.population)),
        *([Paragraph("Attack", attacked(study.attack))] if study.attack else []),
        *_evaluation(study.evaluation),
        Paragraph("Privacy", " ".join(filter(None, [_privacy(result.privacy), _joint(result.privacy)]))),
        Paragraph(outside, _outside(study, result)),
        *_trackers(study.trackers),
    )


def _trackers(trackers: Sequence[TrackingSection]) -> tuple[Paragraph, ...]:
    """Says where else the rounds are shown. Empty if that is only the run folder's own events."""
    described = [plain(text) for each in trackers if (text := each.describe())]
    sentences = [f"What each round came to was {text}." for text in described]
    return (Paragraph("Trackers", " ".join(sentences)),) if sentences else ()


def _data(result: RunResult) -> str:
    data = result.data
    return (
        f"{plain(data.about, 600).rstrip('.')}. {count(data.train_rows)} rows are trained on and "
        f"{count(data.test_rows)} are kept for testing, {labelled(data)}."
    )


def _units(study: Study, kind: Scoring) -> str:
    """Names the units of errors. Empty if the target is not a number."""
    if not kind.numbers:
        return ""
    bounds = study.data.model_dump(include={"target_range"}).get("target_range")
    if bounds is None:
        return "Errors are in the number's own units."
    low, high = bounds
    return f"Errors are fractions of the number's declared range, {low:g} to {high:g}."


def _holders(partition: PartitionSection, summary: Holders, target: str) -> str:
    text = plain(partition.describe(count(summary.population, "client"), target), 400)
    if not summary.population:
        return text
    low, high = summary.fewest, summary.most
    if low == high:
        return f"{text} Each holds {count(low, 'row')}."
    return f"{text} They hold from {count(low)} to {count(high)} rows, {count(summary.median)} at the median."


def _loss(study: Study) -> str:
    """Names the loss that the study sets. Empty if it sets none."""
    return "" if study.training.loss is None else f"a loss of the user's own, {plain(study.training.loss)}"


def _training(study: Study, result: RunResult) -> str:
    work = study.training
    if work.local_steps is not None:
        amount = count(work.local_steps, "local step")
    else:
        epochs = work.local_epochs or 1
        amount = "one pass over its rows" if epochs == 1 else f"{epochs} passes over its rows"
    privacy = result.privacy
    # Poisson batches make no exact passes, only as many steps as passes would have.
    if privacy and privacy.unit in ("sample", "batch") and work.batch_size != "full" and work.local_steps is None:
        amount = f"as many steps as {amount} would take,"
    if work.batch_size == "full":
        batches = "with all its rows in every step"
    elif privacy and privacy.unit in ("sample", "batch"):
        batches = f"in batches drawn by Poisson sampling, {work.batch_size} rows expected in each"
    else:
        batches = f"in batches of {count(work.batch_size, 'row')}"
    extras = [f"learning rate {work.learning_rate:g}"]
    extras += [f"momentum {work.momentum:g}"] if work.momentum else []
    extras += [f"weight decay {work.weight_decay:g}"] if work.weight_decay else []
    optimizer = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}.get(work.optimizer)
    optimizer = optimizer or f"the user's own optimiser, {plain(work.optimizer)}"
    text = f"In a round, each client does {amount} {batches}, by {optimizer} ({', '.join(extras)})."
    return " ".join(filter(None, [text, _schedule(work.schedule)]))


def _schedule(schedule: Schedule | None) -> str:
    """Describes how the learning rate changes from round to round. Empty if it does not."""
    if schedule is None:
        return ""
    facts = []
    if schedule.warmup_rounds:
        warmup = count(schedule.warmup_rounds, "round")
        facts.append(f"grows linearly over {warmup} from {100 * schedule.warmup_start:g}% of it")
    if schedule.name == "step":
        facts.append(f"is multiplied by {schedule.gamma:g} every {count(schedule.step_size, 'round')}")
    elif schedule.name == "cosine":
        facts.append(f"falls along half a cosine towards {100 * schedule.final_share:g}% of it")
    elif ":" in schedule.name:
        facts.append(f"follows the user's own schedule, {plain(schedule.name)}")
    return f"The learning rate {', then '.join(facts)}." if facts else ""


def _evaluation(judging: Evaluation) -> tuple[Paragraph, ...]:
    """Describes evaluations other than that of the final model on the test rows. Empty if there are none."""
    facts = []
    stopping, tuning = judging.early_stopping, judging.fine_tune
    if stopping is not None:
        delta = f" by more than {stopping.min_delta:g}" if stopping.min_delta else ""
        facts.append(
            f"{100 * stopping.fraction:.3g}% of the test rows are held out: where the {stopping.metric} on these is "
            f"not better{delta} in {count(stopping.patience, 'evaluation')} in a row, the run ends. The best model is "
            "kept, and judged on the other test rows."
        )
    if tuning is not None:
        amount = count(tuning.steps, "step") if tuning.steps else count(tuning.epochs or 1, "epoch")
        whom = "each client" if tuning.clients is None else f"each of {count(tuning.clients, 'client')} drawn at random"
        facts.append(f"At the end {whom} trains the model further on its own rows ({amount}) and judges it again.")
    return (Paragraph("Evaluation", " ".join(facts)),) if facts else ()


def _privacy(privacy: PrivacyResult | None) -> str:
    if privacy is None:
        return "None. Nothing in this run is differentially private."
    at_sites = privacy.noise_source == "site"  # whose epsilon is of all runs on their rows
    budget = f" of a budget of {epsilon(privacy.budget)}" if known(privacy.budget) and not at_sites else ""
    guarantee = f"ε = {epsilon(privacy.epsilon)}{budget} at δ = {power(privacy.delta)}"
    by = accountant(privacy.accountant)
    relation = plain(privacy.neighbouring_relation)
    if privacy.unit == "client":
        change = {
            "add_remove": "in one whole client, added or removed",
            "replace_one": "in one whole client, replaced by another",
        }.get(relation, f"in one whole client ({relation})")
        return (
            f"{_mechanism(privacy)} The models after every round together are (ε, δ)-differentially private, "
            f"where neighbouring populations differ {change}: {guarantee}, composed over the rounds by {by}."
        )
    if privacy.unit == "local":
        each = privacy.per_client
        return (
            f"{_mechanism(privacy)} What a client sends over the whole run is (ε, δ)-locally private, whatever rows it "
            f"holds: nobody need trust the server. Each client has an ε of its own, composed by {by} over the rounds "
            f"it really took part in. The worst client spent {guarantee}, the median {epsilon(each.median)}, the least "
            f"{epsilon(each.min)}."
        )
    change = {
        "add_remove": "in one row of that client, added or removed",
        "replace_one": "in one row of that client, replaced by another",
    }.get(relation, f"in one row of that client ({relation})")
    each = privacy.per_client
    return (
        f"{_mechanism(privacy)} What a client sends over the whole run is (ε, δ)-differentially private, "
        f"where neighbouring data sets differ {change}. Each client has an ε of its own, composed by {by} "
        f"over the rounds it really took part in. The worst client spent {guarantee}, the median "
        f"{epsilon(each.median)}, the least {epsilon(each.min)}."
    )


def _joint(privacy: PrivacyResult | None) -> str:
    """Says which runs the epsilon covers if several charge one ledger. Empty if the run has its own ledger."""
    joint = privacy and privacy.joint
    if not joint:
        return ""
    earlier = count(joint.runs - 1, "earlier run")
    return (
        f"These figures count in what {earlier} on the same rows charged to the ledger {plain(joint.ledger, 200)}: "
        f"what holds for the data is the ε of all together. This run by itself comes to ε = "
        f"{epsilon(joint.own.max)}. Runs that charge the ledger later raise what holds."
    )


def _mechanism(privacy: PrivacyResult) -> str:
    clip = f"{privacy.clip_norm:g}"
    noise = f"Gaussian noise of {privacy.noise_multiplier:.3g} times that bound is added"
    match privacy.unit:
        case "sample":
            return f"Each sample's gradient is clipped to L2 norm {clip}, and {noise} in every local step."
        case "batch":
            return (
                f"Each batch's mean gradient is clipped to L2 norm {clip}, and {noise} in every local step. "
                "One sample can turn a clipped mean around, so the sensitivity is twice the bound, "
                f"{privacy.sensitivity:g}, and is accounted so."
            )
        case "client":
            return f"Each client's whole update is clipped to L2 norm {clip}, and {noise} to the server's sum."
        case "local":
            return (
                f"Each client clips its whole update to L2 norm {clip}, and {noise} before it leaves. Two updates can "
                f"lie twice the bound apart, {privacy.sensitivity:g}, and that is accounted."
            )
        # A unit of a newer version of Accord.
        case unit:
            return f"Unit {plain(unit)}: clipped to L2 norm {clip}, and {noise}."


def _scores(result: RunResult) -> str:
    """Says what the scores were computed from, and whether any noise protects it."""
    privacy, noise = result.privacy, result.test.count_noise
    known = "exact" if privacy is None else privacy.test_rows
    if noise is None and known == "exact":
        chosen = " The sites' owners let them leave so: no ε covers them." if _is_at_sites(result) else ""
        return (
            f"Scores are exact {scoring(result).exact} test rows, which nobody trained on, and are not noised.{chosen}"
        )
    much = "" if noise is None else f", with a standard deviation of {noise:.3g} on each count in all,"
    said = (
        f"Counts over test rows are noised at the sites{much} and charged, so that ε covers them, too. Scores follow "
        "from these counts, where one below 0 is taken for 0, and intervals cover the noise."
    )
    return said if known != "mixed" else f"{said} Some sites sent exact sums instead, which ε does not cover."


def _is_at_sites(result: RunResult) -> bool:
    return result.privacy is not None and result.privacy.noise_source == "site"


def _outside(study: Study, result: RunResult) -> str:
    privacy = result.privacy
    if privacy is None:
        noised = "" if result.test.count_noise is None else f" {_scores(result)}"
        return f"Updates can reveal the rows they were computed from; no ε bounds how much.{noised}"
    facts = []
    if privacy.noise_source == "simulated":
        facts.append(
            "The noise comes from the study's seed, so that the run can be repeated: whoever knows the seed "
            "can take it away again. The guarantee is the mechanism's, not that of this simulation's files."
        )
    if privacy.unit == "local":
        facts.append("Which clients took part, and how many rows each holds, is not hidden.")
    elif privacy.unit == "client":
        facts.append("What each client sends before the server adds noise is seen by the server.")
    else:
        facts.append(
            "Someone with several rows, or rows at several clients, is protected less than ε says. "
            "Which clients took part, and how many rows each holds, is not hidden."
        )
    at_sites = _is_at_sites(result)
    if not at_sites:
        facts.append(
            "The records show which clients and how many rows were drawn in each round, which ε assumes to stay secret."
        )
    facts.append("Arithmetic is in finite precision, which ε does not account for.")
    facts.append(_scores(result))
    if at_sites:
        facts.append(
            "Each site stated its number of rows, rounded as its policy says, and its own ε, which counts what earlier "
            "runs spent on the same rows."
        )
        return " ".join(facts)
    facts.append("This report's counts of who held what are exact, as only a simulation can show them.")
    facts.append(
        "Runs on the same rows that were not charged to the ledger are not counted in."
        if privacy.joint
        else "Settings chosen by looking at earlier runs are not charged."
    )
    if study.evaluation.twin:
        facts.append("The twin without privacy is there for comparison and must not be released.")
    return " ".join(facts)
