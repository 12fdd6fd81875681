"""A comparison as a page, one HTML file that opens offline, in the style of a run's report."""

import shlex
from dataclasses import asdict
from functools import partial

from accord.reports.charts.drawing import THEMES
from accord.reports.compare import figures
from accord.reports.compare import text as cw
from accord.reports.compare.comparison import Arm, Comparison
from accord.reports.layout import Cell, Grid, PagePart, PageSection, Plot, cells, plot
from accord.reports.run import sections
from accord.reports.run.page import Card, environment
from accord.reports.words import formatting as words
from accord.reports.words.description import Paragraph
from accord.reports.words.labels import column_label

_MOST_CARDS = 8
_COST = ("uplink_bytes", "downlink_bytes", "seconds", "rounds")


def render(comparison: Comparison) -> str:
    """Renders the page of a comparison.

    Returns:
        The HTML text. The same values give the same text.
    """
    folders = [str(run.folder) for side in comparison.sides for run in side.runs]
    # The page's versions are those of the first run.
    result = comparison.sides[0].runs[0].result
    parts = (_settings(comparison), _scores(comparison), _groups(comparison), _cost(comparison), _runs(comparison))
    return (
        environment()
        .get_template("compare.html.jinja")
        .render(
            name=" against ".join(_names(comparison)),
            summary=f"A comparison: {_counts(comparison)}",
            stopped=None,
            cards=[_card(comparison, side) for side in comparison.sides[:_MOST_CARDS]],
            paragraphs=_paragraphs(comparison),
            sections=[part for part in parts if part is not None],
            # Quoted for a shell, so that it can be pasted.
            command=words.plain(f"accord compare {shlex.join(folders)}", 4000),
            versions=sections.versions(result),
            accord=words.plain(result.accord),
            themes={theme.name: asdict(theme) for theme in THEMES},
        )
    )


def _counts(comparison: Comparison) -> str:
    runs = sum(len(side.runs) for side in comparison.sides)
    return f"{words.count(len(comparison.sides), 'study', 'studies')}, {words.count(runs, 'run')}"


def _names(comparison: Comparison) -> list[str]:
    """Returns the first three distinct names of the studies."""
    found = dict.fromkeys(words.plain(side.runs[0].result.study, 40) for side in comparison.sides)
    return list(found)[:3]


def _card(comparison: Comparison, side: Arm) -> Card:
    score = comparison.scoring.headline
    found = side.measures[score.name]
    about = words.count(len(side.runs), "seed")
    if found.half is not None:
        about = f"± {score.half(found)} over {about}"
    epsilon = "ε = ∞" if side.epsilon is None else f"ε = {words.epsilon(side.epsilon)}"
    lines = (f"{about}, {epsilon}", *([line] if (line := cw.headline(comparison, side)) else []))
    return Card(f"{side.label}: test {score.in_text}", score.middle(found), lines)


def _paragraphs(comparison: Comparison) -> list[Paragraph]:
    sides = "Runs whose resolved studies differ in nothing but the seed are one side, named by a letter."
    level = f"{100 * comparison.confidence:.4g}%"
    intervals = (
        f"Figures are means over a side's seeds. Behind ± stands half Student's {level} interval of that mean: "
        "mean ± t · s / √n, with n − 1 degrees of freedom. It covers what the seed decides, not the choice of "
        "test rows. ε is the largest of a side's seeds."
    )
    paragraphs = [Paragraph("Sides", sides), Paragraph("Intervals", intervals)]
    if comparison.differences:
        first = comparison.sides[0].label
        text = (
            f"Differences are taken from {first}, seed by seed over the seeds that both have, and their interval is "
            "that of the mean of those differences. What a seed does to both sides alike so drops out."
        )
        paragraphs.append(Paragraph("Differences", text))
    return [*paragraphs, *(Paragraph("Mind", note) for note in comparison.notes)]


def _settings(comparison: Comparison) -> PageSection | None:
    if not comparison.differing:
        return None
    rows = tuple(
        cells(name, *(cw.setting(values, side) for side in comparison.sides))
        for name, values in comparison.differing.items()
    )
    heads = ("Setting", *(side.label for side in comparison.sides))
    grid = Grid("Settings that differ", heads, rows, "l" * len(heads))
    return PageSection("settings", "What differs", (PagePart(tables=(grid,)),), "study.yaml")


def _figures(comparison: Comparison, kinds: tuple[str, ...], caption: str, minus: str = "") -> Grid:
    """Builds a table with one row per side. The difference from the first side stands beside the figure `minus`."""
    kinds = tuple(of for of in kinds if cw.has(comparison, of))
    heads = ["", *(cw.title(comparison.scoring, of) for of in kinds)]
    # One more for the column of labels, and one to come after the figure. 0 means that there is no such column.
    index = kinds.index(minus) + 2 if minus in kinds and comparison.differences else 0
    if index:
        heads.insert(index, f"minus {comparison.sides[0].label}")
    rows = []
    for side in comparison.sides:
        row = [Cell(side.label), *(Cell(cw.figure(of, side)) for of in kinds)]
        if index:
            row.insert(index, Cell(cw.difference(comparison, side, minus)))
        rows.append(tuple(row))
    return Grid(caption, tuple(heads), tuple(rows), "l" + "r" * (len(heads) - 1))


def _scores(comparison: Comparison) -> PageSection:
    score = comparison.scoring.headline
    level = f"{100 * comparison.confidence:.4g}%"
    left = len(comparison.sides) - len(figures.charted(comparison))
    beyond = f" The first {figures.MOST_SIDES} sides are drawn." if left else ""
    means = ", ".join(
        f"{side.label} {score.shown(side.measures[score.name].mean)}" for side in figures.charted(comparison)
    )
    plots: tuple[Plot, ...] = plot(
        "curves",
        f"Test {score.in_text} by round",
        f"Mean over seeds; the band is the {level} interval of that mean, cut at the figure's edge.{beyond}",
        f"Test {score.in_text} by round; at the end {means}",
        partial(figures.curves_figure, comparison),
    )
    plots += plot(
        "epsilon",
        f"{score.title} against ε",
        f"Mean over seeds with its {level} interval, at the largest ε of the seeds.{beyond}",
        f"{score.title} against epsilon: {means}",
        partial(figures.epsilon_figure, comparison),
    )
    kind = comparison.scoring
    final = (each.name for each in kind.final if cw.has(comparison, each.name))
    kinds = (*(each.name for each in kind.scores), *final, "epsilon", f"worst_decile{kind.tenth}")
    grid = _figures(comparison, kinds, "On the test rows", score.name)
    subject = comparison.scoring.subject
    return PageSection(
        subject.lower(), f"{subject} and privacy", (PagePart(plots=plots, tables=(grid,)),), "result.json, rounds.jsonl"
    )


def _groups(comparison: Comparison) -> PageSection | None:
    kinds, score = tuple(comparison.scoring.on_groups), comparison.scoring.local
    if not any(cw.has(comparison, of) for of in kinds):
        return None
    level = f"{100 * comparison.confidence:.4g}%"
    plots: tuple[Plot, ...] = ()
    for number, column in enumerate(figures.columns_of(comparison)):
        plots += plot(
            f"groups-{number}",
            f"{score.title} by {column_label(column)}",
            f"Mean over seeds with its {level} interval. Hollow: too few test rows to say.",
            f"{score.title} of each group of {column_label(column)}, a dot a side",
            partial(figures.groups_figure, comparison, column),
        )
        for rate in comparison.scoring.rates:
            plots += plot(
                f"{rate.name}-{number}",
                f"{rate.title} by {column_label(column)}",
                f"{rate.about}. Mean over seeds with its {level} interval.",
                f"{rate.title} of each group of {column_label(column)}, a dot a side",
                partial(figures.groups_figure, comparison, column, rate=rate),
            )
    grid = _figures(comparison, kinds, "Between groups: the widest gap of all columns and intersections", kinds[0])
    text = (selected,) if (selected := cw.selected(comparison)) else ()
    return PageSection("groups", "Groups", (PagePart(text=text, plots=plots, tables=(grid,)),), "result.json")


def _cost(comparison: Comparison) -> PageSection:
    part = PagePart(tables=(_figures(comparison, _COST, "What a run took"),))
    return PageSection("cost", "Bytes and seconds", (part,), "result.json")


def _runs(comparison: Comparison) -> PageSection:
    score = comparison.scoring.headline
    rows = tuple(
        cells(
            side.label,
            str(run.study.seed),
            score.shown(run.value(score.name)),
            "∞" if run.value("epsilon") is None else words.epsilon(run.value("epsilon")),
            words.plain(run.folder, 200),
        )
        for side in comparison.sides
        for run in side.runs
    )
    grid = Grid("Every run", ("", "Seed", score.title, "ε", "Folder"), rows, "lrrrl", folded=len(rows) > 12)
    return PageSection("runs", "The runs", (PagePart(tables=(grid,)),), "")
