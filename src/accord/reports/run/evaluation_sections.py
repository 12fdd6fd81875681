"""The report's parts on calibration, on fine-tuning and personal models at clients, and on early stopping."""

from collections.abc import Mapping

from accord.records.result_parts import OverClients
from accord.records.run_result import RunResult
from accord.reports.charts import small_multiples as tiles
from accord.reports.layout import Grid, PagePart, PageSection, cells, plot
from accord.reports.scoring import ScoreText, scoring
from accord.reports.words import formatting as words


def calibration(result: RunResult) -> PageSection | None:
    """Builds the section on calibration. Returns None if it was not measured."""
    found = result.calibration
    if not found:
        return None
    error = words.decimal(found.expected_calibration_error)
    plots = plot(
        "reliability",
        "Reliability",
        "Share of rows that are right, by how sure the model is of its label. A dot's area is its bin's rows; on the "
        "dashed line the two agree, below it the model is surer than it is right.",
        f"Reliability diagram in {words.count(found.bins, 'bin')}; expected calibration error {error}.",
        lambda theme: tiles.reliability_figure(found, theme),
    )
    facts = (
        ("Expected calibration error", error),
        ("Largest of a bin", words.decimal(found.maximum_calibration_error)),
        ("Brier score", words.decimal(found.brier)),
        ("Log loss, nats", words.decimal(found.log_loss)),
    )
    text = (
        f"On {words.count(result.test.n, 'test row')}, in {words.count(found.bins, 'bin')} of equal width. "
        "The expected error is the mean distance of confidence from accuracy, over the rows; few rows in a bin make it "
        "larger than it is."
    )
    return PageSection("calibration", "Calibration", (PagePart("", (text,), plots, facts),), "result.json")


def fine_tuning(result: RunResult) -> PagePart | None:
    """Builds the part on scores over clients before and after fine-tuning. Returns None if there was none."""
    tuned = result.fine_tune
    if not tuned or not tuned.clients:
        return None
    score = scoring(result).local
    # A result has either steps or epochs.
    amount = words.count(tuned.steps, "step") if tuned.steps else words.count(tuned.epochs, "epoch")
    clients = words.count(tuned.clients, "client")
    text = (
        f"The final model on the test rows of {clients}, before and after each trains it further on its own training "
        f"rows: {amount} at a learning rate of {tuned.learning_rate:g}, as plain local training. It does better at "
        f"{words.count(tuned.improved)} and worse at {words.count(tuned.worsened)} of them."
    )
    if tuned.diverged:
        text += f" At {words.count(tuned.diverged, 'client')} its parameters are no longer finite."
    if tuned.too_small:
        text += f" {words.count(tuned.too_small, 'client')} had too few test rows to say much."
    plots = plot(
        "fine-tuning",
        "Before and after fine-tuning",
        "From the least to the greatest over clients; the band is one standard deviation around the mean, the diamond "
        "the worst tenth.",
        f"{score.title} over {clients}: mean {score.shown(tuned.before.mean)} before and "
        f"{score.shown(tuned.after.mean)} after fine-tuning.",
        lambda theme: tiles.before_after_figure(tuned, theme, score),
    )
    grid = _over_clients(score, {"Before": tuned.before, "After": tuned.after})
    return PagePart("Before and after fine-tuning", (text,), plots, (), (grid,))


def _over_clients(score: ScoreText, models: Mapping[str, OverClients]) -> Grid:
    head = ("", "Mean", "Deviation", "Worst tenth", "Least", "Greatest")
    rows = tuple(
        cells(
            name,
            score.shown(over.mean),
            score.apart(over.std),
            *(score.shown(value) for value in (over.worst_decile, over.min, over.max)),
        )
        for name, over in models.items()
    )
    return Grid("Over clients", head, rows, "lrrrrr")


def personal(result: RunResult) -> PagePart | None:
    """Builds the part on scores over clients of shared and personal models. Returns None if none are personal."""
    summary = result.personal
    if not summary:
        return None
    text = (
        f"The shared model, and each client's own (with the layers or the model that it keeps to itself), on the test "
        f"rows of {words.count(summary.clients, 'client')} that took part. The own model does better at "
        f"{words.count(summary.improved)} and worse at {words.count(summary.worsened)} of them."
    )
    if summary.too_small:
        text += f" {words.count(summary.too_small, 'client')} had too few test rows to say much."
    grid = _over_clients(scoring(result).local, {"Shared": summary.shared, "Own": summary.own})
    return PagePart("Shared and own models", (text,), (), (), (grid,))


def early_stopping(result: RunResult) -> str | None:
    """Returns one sentence on when the run ended and which model is kept. Returns None without early stopping."""
    summary = result.early_stopping
    if not summary:
        return None
    test_rows = words.count(summary.n, "test row")
    imbalance_text = f"the model of round {words.count(summary.kept_round)} is kept, and judged on the other test rows"
    if summary.stopped:
        waited = words.count(summary.patience, "evaluation")
        return (
            f"Ended early, after {words.count(result.rounds)} of {words.count(result.planned_rounds, 'round')}: "
            f"no better {summary.metric} on {test_rows} held out in {waited} in a row; {imbalance_text}."
        )
    return f"By {summary.metric} on {test_rows} held out, {imbalance_text}."
