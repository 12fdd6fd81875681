"""The sections of the report, as plain values that the template only has to lay out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from accord.privacy.units import UNITS
from accord.records.partition_record import Holders, holders
from accord.records.result_parts import JointResult, PrivacyResult
from accord.records.round_record import RoundRecord
from accord.records.run_result import RunResult
from accord.reports.charts import figures
from accord.reports.charts.drawing import Theme
from accord.reports.layout import Cell, Grid, PagePart, PageSection, Plot, cells, plot
from accord.reports.run import evaluation_sections as judging_sections
from accord.reports.scoring import Scoring, scoring
from accord.reports.words import formatting as words
from accord.reports.words import labels
from accord.reports.words.epsilon_text import meaning

MOST_CLIENT_ROWS = 200
"""Clients beyond which a table by client is summarised."""
MOST_ROUND_ROWS = 100
"""Rounds beyond which the table by round shows evenly spaced ones."""


# --- learning and privacy -----------------------------------------------------------------------------


def learning(rounds: Sequence[RoundRecord], result: RunResult) -> PageSection:
    """Builds the section on scores by round, beside the twin's final scores."""
    twin, kind = result.twin, scoring(result)
    beside = " The dashed line is where the same study without privacy ends." if twin else ""
    rows = words.count(result.test.n, "test row")
    plots: tuple[Plot, ...] = ()
    for score in kind.main:
        # The default binds this score, as a closure would draw the last one in every figure.
        def draw(theme: Theme, of: str = score.name) -> Figure | None:
            return figures.scores_figure(rounds, result, of, theme)

        alt = f"{score.title} on the test rows by round, ending at {score.shown(result.test.score(score.name))}"
        alt += f"; without privacy {score.shown(twin.test.score(score.name))}." if twin else "."
        plots += plot(score.name, score.title, f"{score.about}, on {rows}.{beside}", alt, draw)
    early = judging_sections.early_stopping(result)
    text = (*((early,) if early else ()), *(() if plots else ("No round of this run was scored.",)))
    facts = tuple((each.title, each.shown(result.test.score(each.result_key))) for each in kind.known_final(result))
    part = PagePart("", text, plots, facts, _by_round(rounds, kind))
    return PageSection("learning", kind.section, (part,), "rounds.jsonl")


def _by_round(rounds: Sequence[RoundRecord], kind: Scoring) -> tuple[Grid, ...]:
    if not rounds:
        return ()
    # Rounded up, so that the table never exceeds its limit by more than the last round.
    step = -(-len(rounds) // MOST_ROUND_ROWS)
    shown = [record for i, record in enumerate(rounds) if (i + 1) % step == 0 or i == len(rounds) - 1]
    caption = "Round by round" if step == 1 else f"Round by round, every {step} rounds"
    titles = [score.title for score in kind.scores]
    head = ("Round", "Took part", "Refused", "Samples", *titles, "Worst ε", "Sent up", "Seconds")
    lines = tuple(
        cells(
            words.count(record.round),
            words.count(len(record.clients)),
            words.count(len(record.refused)),
            words.count(record.samples),
            *(score.shown(record.test[score.result_key] if record.test else None) for score in kind.scores),
            words.epsilon(record.epsilon.max) if record.epsilon else words.DASH,
            words.size(record.uplink_bytes),
            words.decimal(sum(record.seconds.values()), 2),
        )
        for record in shown
    )
    return (Grid(caption, head, lines, "r" * len(head), folded=True),)


def epsilon_by_client(ledger: Sequence[Mapping[str, Any]], clients: int) -> NDArray[np.float64] | None:
    """Returns each client's epsilon at the end, 0 if it never took part. Returns None if all share one account.

    On a joint ledger, it is the epsilon of this run alone. The run's records do not have what other runs charged to
    clients that never took part in this one.
    """
    last: dict[str, float] = {}
    for line in ledger:
        # Epsilon is cumulative, so a client's last line has its total. `own` is this run's part on a joint ledger.
        last |= line.get("own", line["epsilon"])
    # Under client-level privacy all clients share the population's account.
    if not last or "population" in last:
        return None
    epsilons = np.zeros(clients)
    epsilons[[int(client) for client in last]] = list(last.values())
    return epsilons


def privacy(
    rounds: Sequence[RoundRecord],
    ledger: Sequence[Mapping[str, Any]],
    partition: Mapping[str, Any],
    result: RunResult,
) -> PageSection:
    """Builds the section on epsilon by round and by client, and every number of the guarantee."""
    terms = result.privacy
    if terms is None:
        return PageSection(
            "privacy", "Privacy", (PagePart(text=("This run was trained without differential privacy.",)),)
        )
    plots = plot(
        "epsilon-rounds",
        "ε by round",
        f"Over the clients, at δ = {words.power(terms.delta)}. {_those_who_never_took_part(terms)}",
        f"ε by round, ending at {words.epsilon(terms.epsilon)} for the worst client.",
        lambda theme: figures.epsilon_rounds_figure(rounds, result, theme),
    )
    summary = holders(partition)
    names = [client["name"] for client in summary.listed]
    epsilons = epsilon_by_client(ledger, summary.population)
    budget = None if terms.joint else terms.budget  # a joint budget bounds more than what is drawn
    text: tuple[str, ...] = (meaning(terms),)
    tables: tuple[Grid, ...] = ()
    if epsilons is not None:
        plots += plot(
            "epsilon-clients",
            "ε by client, this run by itself" if terms.joint else "ε by client",
            f"What each has spent at the end of the run, {words.epsilon(max(epsilons))} at most.",
            f"ε of each of {words.count(len(epsilons), 'client')}, from {words.epsilon(min(epsilons))} to "
            f"{words.epsilon(max(epsilons))}.",
            lambda theme: figures.epsilon_clients_figure(epsilons, budget, theme, names),
        )
        tables = _by_client(epsilons, ledger, summary, budget)
    elif UNITS[terms.unit].shared:
        text += ("The unit is the client, so the population has one account: its ε is every client's ε.",)
    source = "sites.jsonl" if terms.noise_source == "site" else "ledger.jsonl"
    return PageSection("privacy", "Privacy spent", (PagePart("", text, plots, _terms(terms), tables),), source)


def _joint_terms(joint: JointResult | None) -> tuple[tuple[str, str], ...]:
    if not joint:
        return ()
    return (
        ("That is ε of", words.joint_runs(joint)),
        ("ε of this run by itself", words.epsilon(joint.own.max)),
        ("Joint ledger", words.plain(joint.ledger, 400)),
        ("Run in it", words.plain(joint.run)),
    )


def _those_who_never_took_part(terms: PrivacyResult) -> str:
    if terms.joint:
        return f"What earlier runs charged is counted in: {words.joint_runs(terms.joint)}."
    return "Clients that never took part count with 0."


def _terms(terms: PrivacyResult) -> tuple[tuple[str, str], ...]:
    relation = {"add_remove": "add or remove one", "replace_one": "replace one"}
    sampling = {"poisson": "Poisson", "fixed": "fixed size, without replacement", "everyone": "everyone"}
    source = {
        "simulated": "simulated, from the study's seed",
        "site": "drawn at each site from its operating system's entropy",
    }
    accountants = {"rdp": "RDP (Rényi)", "pld": "PLD", "rdp2017": "RDP, conversion of 2017"}
    return (
        ("Privacy unit", words.plain(terms.unit)),
        ("ε, worst client", words.epsilon(terms.epsilon)),
        *_joint_terms(terms.joint),
        ("Budget", words.epsilon(terms.budget) if words.known(terms.budget) else "none set"),
        ("δ", words.power(terms.delta)),
        ("Accountant", accountants.get(terms.accountant, words.plain(terms.accountant))),
        (
            "Neighbouring relation",
            relation.get(terms.neighbouring_relation, words.plain(terms.neighbouring_relation)),
        ),
        ("Sampling", sampling.get(str(terms.sampling), words.plain(terms.sampling))),
        ("Clip norm C", f"{terms.clip_norm:g}"),
        ("Sensitivity", f"{terms.sensitivity:g}"),
        ("Noise multiplier", f"{terms.noise_multiplier:.4g} × C"),
        ("Noise", source.get(str(terms.noise_source), words.plain(terms.noise_source))),
    )


def _by_client(
    epsilons: NDArray[np.float64],
    ledger: Sequence[Mapping[str, Any]],
    summary: Holders,
    budget: float | None,
) -> tuple[Grid, ...]:
    # An incomplete partition record lists only its first clients.
    if len(epsilons) > MOST_CLIENT_ROWS or not summary.complete:
        return ()
    took, refused = np.zeros(len(epsilons), dtype=int), np.zeros(len(epsilons), dtype=int)
    for line in ledger:
        np.add.at(took, list(line["clients"]), 1)
        np.add.at(refused, list(line["refused"]), 1)
    rows = tuple(
        (
            Cell(labels.client_label(client, 40)),
            Cell(words.count(client["rows"])),
            Cell(words.count(took[i])),
            Cell(words.count(refused[i])),
            Cell(words.epsilon(epsilons[i])),
            Cell(words.percent(epsilons[i] / budget) if budget else words.DASH),
        )
        for i, client in enumerate(summary.listed)
    )
    head = ("Client", "Rows", "Rounds", "Refused", "ε", "Of budget")
    return (Grid("Client by client", head, rows, "lrrrrr", folded=True),)


# --- clients and their rows ---------------------------------------------------------------------------


def clients(result: RunResult) -> PageSection | None:
    """Builds the section on scores over clients, personal and fine-tuned models included. Returns None without any."""
    more = (judging_sections.personal(result), judging_sections.fine_tuning(result))
    parts = (*_spread(result), *(part for part in more if part))
    return PageSection("clients", f"{scoring(result).local.title} by client", parts, "result.json") if parts else None


def _spread(result: RunResult) -> tuple[PagePart, ...]:
    spread, kind = result.clients, scoring(result)
    score = kind.local
    if not spread or not words.known(spread.mean):
        return ()
    plots = plot(
        "client-spread",
        f"{score.title} over clients",
        "From the least to the greatest; the band is one standard deviation around the mean.",
        f"{score.title} over clients: from {score.shown(spread.min)} to {score.shown(spread.max)}, "
        f"mean {score.shown(spread.mean)}.",
        lambda theme: figures.client_spread_figure(spread, theme, score),
    )
    facts = (
        ("Mean", score.shown(spread.mean)),
        ("Standard deviation", score.apart(spread.std)),
        ("Least", score.shown(spread.min)),
        ("Worst tenth, mean", score.shown(spread.worst_decile)),
        ("Greatest", score.shown(spread.max)),
    )
    text = f"The final model on the test rows of {words.count(spread.evaluated)} of "
    text += f"{words.count(spread.population, 'client')}."
    if spread.too_small:
        text += f" {words.count(spread.too_small, 'client')} had too few test rows to say much."
    text += f" The worst tenth are {kind.worst_clients}, rounded down, at least one; every client weighs alike."
    return (PagePart("", (text,), plots, facts),)


def holdings(partition: Mapping[str, Any]) -> PageSection:
    """Builds the section on the rows of each client. Many clients are summarised."""
    summary = holders(partition)
    many = summary.population > figures.MOST_BUBBLES
    plots = _by_holder(partition, summary, many)
    if many:
        plots += plot(
            "sizes",
            "Rows by client",
            "How many clients hold how many training rows.",
            f"Histogram of rows held by a client, from {words.count(summary.fewest)} to {words.count(summary.most)}.",
            lambda theme: figures.sizes_figure(partition, theme),
        )
    facts = (
        ("Clients", words.count(summary.population)),
        ("Training rows", words.count(summary.rows)),
        ("Fewest", words.count(summary.fewest)),
        ("Median", words.count(summary.median)),
        ("Most", words.count(summary.most)),
    )
    tables = _partition_table(partition, summary) if summary.complete and summary.population <= MOST_CLIENT_ROWS else ()
    text: tuple[str, ...] = ()
    if not summary.complete:
        first = words.count(len(summary.listed), "client")
        text = (f"The figures are over all clients; the records list the first {first} one by one.",)
    return PageSection("holdings", "Who held what", (PagePart("", text, plots, facts, tables),), "partition.json")


def _by_holder(partition: Mapping[str, Any], summary: Holders, many: bool) -> tuple[Plot, ...]:
    if not partition["class_names"] and many:
        return ()
    title = "Labels by client" if partition["class_names"] else "Rows by client"
    caption = (
        "Each line is the mean of many clients; the darker, the larger the share of their rows that has the label."
        if not summary.complete
        else "Each line is a client; the darker, the larger the share of its rows that has the label."
        if many
        else "A bubble's area is the number of training rows with that label."
        if partition["class_names"]
        else "How many training rows each client holds."
    )
    alt = f"Training rows of {words.count(summary.population, 'client')}{' by label' * bool(partition['class_names'])}."
    return plot("holdings", title, caption, alt, lambda theme: figures.partition_figure(partition, theme))


def _partition_table(partition: Mapping[str, Any], summary: Holders) -> tuple[Grid, ...]:
    head = ("Client", "Rows", "Test rows", *(words.plain(name, 24) for name in partition["class_names"]))
    rows = tuple(
        cells(
            labels.client_label(client, 40),
            words.count(client["rows"]),
            words.count(client["test_rows"]),
            *(words.count(n) for n in client["labels"]),
        )
        for client in summary.listed
    )
    return (
        Grid(
            "Rows by client and label" if partition["class_names"] else "Rows by client",
            head,
            rows,
            "l" + "r" * (len(head) - 1),
            folded=True,
        ),
    )


# --- released, cost, versions -------------------------------------------------------------------------


def released(result: RunResult) -> PageSection:
    """Builds the section on what left the clients, and how."""
    rows = tuple(cells(words.plain(item.what, 400), words.plain(item.how, 400)) for item in result.released)
    if not rows:
        return PageSection("released", "What was released", (PagePart(text=("Nothing was recorded as released.",)),))
    table = Grid("What was released, and how", ("What", "How"), rows, "ll")
    return PageSection("released", "What was released", (PagePart(tables=(table,)),), "result.json")


def cost(result: RunResult) -> PageSection:
    """Builds the section on seconds by stage, bytes and faults."""
    sent, faults, stages = result.communication, result.faults, result.seconds_by_stage
    # Never 0, because shares are divided by it.
    total = max(result.seconds or 0.0, sum(stages.values()), 1e-9)
    rows = tuple(
        (
            Cell(words.plain(stage)),
            Cell(words.duration(seconds)),
            Cell(words.percent(seconds / total), bar=seconds / total),
        )
        for stage, seconds in sorted(stages.items(), key=lambda item: -item[1])
    )
    facts = (
        ("Whole run", words.duration(result.seconds)),
        ("Samples per second", words.count(result.samples_per_second)),
        ("Peak memory", words.size((result.peak_rss_mb or float("nan")) * 2**20)),
        ("Uplink", words.size(sent.uplink_bytes)),
        ("Downlink", words.size(sent.downlink_bytes)),
        ("Messages", words.count(sent.messages)),
        ("Dropped", words.count(faults.dropped, "client")),
        ("Timed out", words.count(faults.timed_out, "client")),
        ("Recovered", words.count(faults.recovered, "client")),
    )
    table = Grid("Seconds by stage", ("Stage", "Time", "Share"), rows, "lrr")
    text = ("Bytes are those of the parameters sent. MB = 2²⁰ bytes, KB = 2¹⁰.",)
    part = PagePart("", text, (), facts, (table,) if rows else ())
    return PageSection("cost", "Seconds, bytes and faults", (part,), "result.json")


def versions(result: RunResult) -> tuple[tuple[str, str], ...]:
    """Returns the versions of the software that the run was made with."""
    return tuple((words.plain(name), words.plain(value)) for name, value in result.versions.items())
