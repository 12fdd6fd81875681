"""The report's section on sensitive groups, with figures, measures and gaps of every column."""

from collections.abc import Mapping

from accord.records.result_parts import ColumnResult, FairnessResult, GroupResult
from accord.records.run_result import RunResult
from accord.reports.charts import group_figures
from accord.reports.charts import small_multiples as tiles
from accord.reports.layout import Cell, Grid, PagePart, PageSection, Plot, plot
from accord.reports.scoring import BIAS, ScoreText, Scoring, scoring
from accord.reports.words import formatting as words
from accord.reports.words import labels


def groups(result: RunResult) -> PageSection | None:
    """Builds the section on every group column. Returns None if the study names no groups."""
    fairness = result.fairness
    if not fairness:
        return None
    kind = scoring(result)
    level = f"{100 * fairness.confidence:.4g}%"
    text = [f"On {words.count(result.test.n, 'test row')}, with {level} intervals."]
    if fairness.positive_label is not None:
        text.append(f"A row is selected where {words.label(fairness.positive_label)} is predicted for it.")
    if fairness.positive is None and not kind.numbers:
        text.append("No label counts as selected here, so selection, true and false positive rates are undefined (–).")
    if any(group.too_small for group in fairness.groups.values()):
        text.append(
            "Groups marked “too small to say” are drawn hollow: their figures are mostly chance, "
            "and no conclusion should rest on them."
        )
    if any(group.few and not group.too_small for group in fairness.groups.values()):
        text.append(
            "A rate marked “few” is as uncertain, such as a true positive rate of few positive rows; it too is "
            "drawn hollow."
        )
    note = fairness.confusion and fairness.confusion.note
    if note:
        text.append(f"Confusion matrices are {words.plain(note, 200)}.")
    parts = [PagePart(text=(" ".join(text),))]
    parts += [_column(fairness, name, k, kind, kind.overall(result)) for k, name in enumerate(fairness.columns)]
    return PageSection("groups", "Groups", tuple(parts), "result.json")


def _column(fairness: FairnessResult, column: str, number: int, kind: Scoring, overall: float | None) -> PagePart:
    score = kind.local
    members = fairness.groups_of(column)
    title = labels.column_label(column, 60)
    worst = fairness.columns[column].worst_group
    lowest = f" {score.worst.capitalize()} of those large enough to say: {words.plain(worst, 60)}." if worst else ""
    few = sum(group.too_small for group in members.values())
    some = f"{words.count(few, 'group')} too small to say." if few else "All groups are large enough to say."
    shortened = ""
    if len(members) > group_figures.MOST_GROUPS:
        shortened = f" Of {len(members)} groups, the {score.worst} {group_figures.MOST_GROUPS} are drawn."
    plots = plot(
        f"groups-{number}",
        f"{score.title} by {title}",
        f"{kind.of_group}, with its interval; {score.worst} first.{shortened}",
        f"{score.title} of each group of {title} with its interval.{lowest} {some}",
        lambda theme: group_figures.groups_figure(fairness, column, overall, theme, score),
    )
    plots += plot(
        f"bias-{number}",
        f"Bias by {title}",
        f"{BIAS.about}, with its interval: above 0 predictions are too high. In the order of {score.in_text}.",
        f"Bias of each group of {title} with its interval.",
        lambda theme: group_figures.bias_figure(fairness, column, score, theme),
    )
    plots += plot(
        f"rates-{number}",
        f"Rates by {title}",
        "Share predicted positive: of all rows (selection rate), of the positive rows (TPR), of the others (FPR).",
        f"Selection, true positive and false positive rates of each group of {title} with their intervals.",
        lambda theme: group_figures.rates_figure(fairness, column, theme),
    )
    plots += _calibrated(fairness, column, title, number) + _confused(fairness, column, title, number)
    # Groups without test rows have no figures to draw, so they are named.
    empty = [
        labels.group_label(name, column)
        for name, group in fairness.groups.items()
        if not group.n and fairness.column_of(name) == column
    ]
    more = f" and {len(empty) - 8} more" if len(empty) > 8 else ""
    text: tuple[str, ...] = (f"Without a test row, and so left out: {'; '.join(empty[:8])}{more}.",) if empty else ()
    text += _biased(fairness.columns[column], kind)
    tables = (_measures(members, column, title, kind), _gaps(fairness, column, title, kind))
    return PagePart(title, text, plots, (), tables)


def _figure_text(fairness: FairnessResult, column: str, of: str) -> str:
    many = len(tiles.measured(fairness, column, of))
    return f" Of {many} groups, the lowest {tiles.MOST_TILES} are drawn." if many > tiles.MOST_TILES else ""


def _calibrated(fairness: FairnessResult, column: str, title: str, number: int) -> tuple[Plot, ...]:
    return plot(
        f"calibration-{number}",
        f"Calibration by {title}",
        "Share of rows that are right (upwards) by how sure the model is (to the right), with the expected calibration "
        f"error; lowest accuracy first.{_figure_text(fairness, column, 'calibration')}",
        f"Reliability diagram of each group of {title}.",
        lambda theme: tiles.reliability_tiles(fairness, column, theme),
    )


def _confused(fairness: FairnessResult, column: str, title: str, number: int) -> tuple[Plot, ...]:
    return plot(
        f"confusion-{number}",
        f"Confusion by {title}",
        "Rows by label (downwards) and prediction (to the right), in the order of the labels; the stronger the colour, "
        f"the larger the share of the label's rows. Blue is right.{_figure_text(fairness, column, 'confusion')}",
        f"Confusion matrix of each group of {title}.",
        lambda theme: tiles.confusion_tiles(fairness, column, theme),
    )


def _biased(gaps: ColumnResult, kind: Scoring) -> tuple[str, ...]:
    """Returns a warning on gaps that lie outside their own interval."""
    outside = []
    for gap in kind.gaps:
        ends, value = gaps.interval(gap.name), gaps.score(gap.name)
        # Resampling widens a gap of noisy scores, so its interval can lie above the value.
        if ends is not None and words.known(value) and not ends[0] <= value <= ends[1]:
            outside.append(gap.title.lower())
    if not outside:
        return ()
    return (
        f"The interval does not hold the value itself for: {', '.join(outside)}. Between small groups chance widens "
        "gaps, and drawing rows anew, as the interval does, widens them once more: both are too far from “no gap”.",
    )


def _measures(members: Mapping[str, GroupResult], column: str, title: str, kind: Scoring) -> Grid:
    first, *others = kind.group
    scores = [first, *(of for of in others if any(words.known(group.score(of.name)) for group in members.values()))]
    calibrated = any(group.calibration for group in members.values())
    rows = tuple(
        (
            Cell(
                labels.group_label(name, column, 120),
                tag="too small to say" if group.too_small else "",
            ),
            Cell(words.count(group.n)),
            *(_score(group, of) for of in scores),
            *((_error(group),) if calibrated else ()),
        )
        for name, group in members.items()
    )
    head = ("Group", "Rows", *(of.title for of in scores), *(("Calibration",) if calibrated else ()))
    return Grid(f"Measures by {title}", head, rows, "l" + "r" * (len(head) - 1))


def _score(group: GroupResult, of: ScoreText) -> Cell:
    # A group that is too small is marked once, not at every score.
    tag = "few" if of.name in group.few and not group.too_small else ""
    return Cell(of.shown(group.score(of.name)), of.span(group.interval(of.name)), tag)


def _error(group: GroupResult) -> Cell:
    found = group.calibration
    if found is None:
        return Cell(words.DASH)
    return Cell(words.decimal(found.expected_calibration_error), f"Brier {words.decimal(found.brier)}")


def _gaps(fairness: FairnessResult, column: str, title: str, kind: Scoring) -> Grid:
    gaps = fairness.columns[column]
    rows = tuple(
        (
            Cell(gap.title, gap.about),
            Cell(gap.shown(gaps.score(gap.name))),
            Cell(gap.span(gaps.interval(gap.name)).removesuffix(" points")),
        )
        for gap in kind.gaps
    )
    return Grid(f"Gaps by {title}", ("Gap", "Value", "Interval"), rows, "lrr")
