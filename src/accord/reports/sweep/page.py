"""The report of a sweep, one HTML file that opens offline, in the style of a run's report.

Every figure is a mean over seeds with its 95% t-interval, and every run is in the table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from accord.records.run_result import RunResult
from accord.records.sweep_folder import ENDED, SweepFolder, SweepRow, status_of, summary
from accord.reports.charts.drawing import THEMES
from accord.reports.run.page import Card, environment
from accord.reports.scoring import scoring_of
from accord.reports.sweep import sections as sweep_sections
from accord.reports.sweep.text import axis_name, point_name, values_of
from accord.reports.words import formatting as words
from accord.reports.words.description import Paragraph


def render(sweep: SweepFolder, study_yaml: str, example: RunResult | None, versions: Mapping[str, str]) -> str:
    """Renders the report of a sweep.

    Args:
        sweep: the sweep's folder as read.
        study_yaml: the study file that asked for it.
        example: the result of one of its runs, for what all runs share. None if no run has ended.
        versions: versions of the software that made it.

    Returns:
        The HTML text. The same values give the same text.
    """
    parts = (
        sweep_sections.accuracy(sweep),
        sweep_sections.privacy(sweep),
        sweep_sections.groups(sweep),
        sweep_sections.points(sweep),
        sweep_sections.runs(sweep),
    )
    return (
        environment()
        .get_template("sweep.html.jinja")
        .render(
            name=words.plain(sweep.name, 120),
            summary=_summary(sweep),
            stopped=_unfinished(sweep),
            cards=_cards(sweep),
            paragraphs=_paragraphs(sweep, example),
            sections=[part for part in parts if part is not None],
            run=words.plain(sweep.folder / "runs", 400),
            file=f"{words.plain(sweep.name, 80)}.yaml",
            study_yaml=study_yaml,
            versions=tuple((words.plain(name), words.plain(value)) for name, value in versions.items()),
            accord=words.plain(versions["accord"]),
            themes={theme.name: asdict(theme) for theme in THEMES},
        )
    )


def _summary(sweep: SweepFolder) -> str:
    counts = (
        words.count(len(sweep.points), "point"),
        words.count(len(sweep.seeds), "seed"),
        words.count(len(sweep.rows), "run"),
    )
    return f"A sweep: {', '.join(counts)}"


def _unfinished(sweep: SweepFolder) -> str | None:
    if status_of(sweep) == "done":
        return None
    names = {"stopped": "stopped early", "failed": "failed", "unfinished": "not finished", "waiting": "not begun"}
    counts = [f"{sweep.count(status)} {name}" for status, name in names.items() if sweep.count(status)]
    text = f"{sweep.count('done')} of {words.count(len(sweep.rows), 'run')} done, {', '.join(counts)}."
    if sweep.count("stopped"):
        text += " What stopped early is counted with the model it had."
    return f"{text} The table of runs says why."


def _cards(sweep: SweepFolder) -> list[Card]:
    best = best_point(sweep)
    cards = []
    if best is not None:
        score = scoring_of(sweep).headline
        found = summary(best, score.name)
        unit = " points" if score.form == "share" else ""
        spread = f"± {score.half(found)}{unit} over {words.count(found.n, 'seed')}" if found.half else ""
        chosen = "the best of them on the test rows" if len(sweep.points) > 1 else "its one point"
        lines = tuple(line for line in (point_name(best[0]), spread, chosen) if line)
        cards.append(Card(f"Best {score.in_text}", score.middle(found), lines))
    epsilons = [row.measures["epsilon"] for row in sweep.rows if row.measures["epsilon"] is not None]
    if epsilons:
        least, most = words.epsilon(min(epsilons)), words.epsilon(max(epsilons))
        # On a joint ledger a run's epsilon includes the runs before it, so the largest is that of all runs.
        if sweep.ledger is not None:
            least, lines = most, ("of the worst-off client", "of all runs on the joint ledger together")
        else:
            lines = ("of the worst-off client of each run", "ε of one run; of all together it adds up")
        cards.append(Card("Privacy", f"ε = {least}" if least == most else f"ε {least}–{most}", lines))
    ended = sweep.count(*ENDED)
    seconds = sum(row.measures["seconds"] or 0.0 for row in sweep.rows)
    sent = sum(row.measures["uplink_bytes"] or 0.0 for row in sweep.rows)
    lines = (f"of {words.count(len(sweep.rows))} asked for", f"{words.duration(seconds)} of training in all")
    cards.append(Card("Runs", words.count(ended), (*lines, f"{words.size(sent)} sent by clients")))
    return cards


def best_point(sweep: SweepFolder) -> tuple[SweepRow, ...] | None:
    """Returns the runs of the point with the best mean headline score, or None if no run has ended."""
    score = scoring_of(sweep).headline
    means = [(summary(rows, score.name).mean, rows) for rows in sweep.points]
    known = [(mean, rows) for mean, rows in means if mean is not None]
    # `ill` is largest for the best value.
    return max(known, key=lambda each: score.ill(each[0]))[1] if known else None


def _paragraphs(sweep: SweepFolder, example: RunResult | None) -> tuple[Paragraph, ...]:
    varied = [f"{axis_name(axis, sweep.paths)} over {_listed(values_of(sweep, axis))}" for axis in sweep.axes]
    what = "; ".join(varied) + ". Every combination is a point." if varied else "Only the seed: the study is one point."
    seeds = f"{words.count(len(sweep.seeds), 'seed')}: {_listed([str(seed) for seed in sweep.seeds])}. "
    if len(sweep.seeds) > 1:
        seeds += "Figures are means over seeds with Student's 95% interval; it tells how sure the mean is, not how far "
        seeds += "single runs lie apart."
    else:
        seeds += "One seed tells nothing of chance, so there are no intervals."
    paragraphs = [Paragraph("What is varied", what), Paragraph("Seeds", seeds)]
    if example is not None:
        paragraphs.insert(0, Paragraph("Data", f"{words.plain(example.data.about, 600).rstrip('.')}."))
    if len(sweep.points) > 1:
        text = "Points are compared on the test rows, so the best of many flatters itself a little; where the choice "
        paragraphs.append(Paragraph("Choosing", text + "matters, run the chosen point again under other seeds."))
    if any(row.measures["epsilon"] is not None for row in sweep.rows):
        text = "The ε of a run covers that run alone. All runs were trained on the same rows, so whoever sees several "
        text += "of them, or the choice of the best, learns more than one run's ε says."
        paragraphs.append(Paragraph("Privacy", text))
    return tuple(paragraphs)


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = [words.plain(name, 60) for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
