"""Builds `result.json`, a run's summary at its end, with every figure taken from the run's records.

Sums over rounds come from the round records, epsilon from the ledger, and scores from the evaluation passed in.
"""

import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.privacy.ledger import Ledger
from accord.privacy.plan import PrivacyPlan
from accord.records.ledger_file import Entry
from accord.records.round_record import RoundRecord
from accord.tasks.base import Words
from accord.tasks.classification import CLASSIFICATION


def privacy_summary(ledger: Ledger | None, entry: Entry | None = None) -> dict[str, Any] | None:
    """Builds the privacy section: the guarantee and the epsilon spent. The headline is the worst account's epsilon.

    Args:
        ledger: the accounts after the last finished round. None without privacy.
        entry: the run's entry in a joint ledger. All figures but those under `joint.own` then cover all of its runs
            together. Rounds that were charged but not finished count, as in the file.
    """
    if ledger is None:
        return None
    if entry is not None:
        # Replaces the ledger in memory, which lacks rounds that were charged by a process that was killed.
        ledger = entry.charged(ledger)
    plan, epsilons = ledger.plan, ledger.epsilons()
    return {
        "unit": plan.unit,
        "epsilon": float(epsilons.max()),
        "delta": plan.delta,
        "accountant": plan.accountant,
        "noise_multiplier": plan.noise_multiplier,
        "clip_norm": plan.clip_norm,
        "sensitivity": plan.sensitivity,
        "neighbouring_relation": plan.relation,
        "sampling": plan.sampling,
        "budget": plan.budget,
        "per_client": _spread(epsilons),
        "joint": None if entry is None else _joint(ledger, entry),
        # The seed is stored with the study, so the noise can be repeated but is not secret.
        "noise_source": "simulated",
        "test_rows": "exact",
    }


def _joint(ledger: Ledger, entry: Entry) -> dict[str, Any]:
    """Identifies the joint ledger of the figures, and adds what the run charged by itself."""
    own = _spread(ledger.without_earlier().epsilons())
    return {
        "ledger": str(entry.path),
        "run": entry.run,
        "runs": entry.runs,
        "own": own,
        "head": entry.tail.head,
        "lines": entry.tail.lines,
    }


def _spread(epsilons: NDArray[np.float64]) -> dict[str, float]:
    return {"min": float(epsilons.min()), "median": float(np.median(epsilons)), "max": float(epsilons.max())}


def released(
    plan: PrivacyPlan | None,
    *,
    groups: bool,
    per_client: bool,
    twin: bool,
    fine_tune: bool = False,
    personal: bool = False,
    early_stopping: bool = False,
    predictions: bool = False,
    drops_rows: bool = False,
    metrics: Sequence[str] = (),
    words: Words = CLASSIFICATION.words,
    at_sites: bool = False,
    noised_counts: bool = False,
) -> list[dict[str, str]]:
    """Lists what left the clients or was computed from their data, and under which terms.

    Args:
        plan: the privacy plan.
        groups: whether group counts on the test rows are computed.
        per_client: whether scores on each client's share of the test rows are computed.
        twin: whether a model was also trained without privacy.
        personal: whether the clients' personal models were evaluated.
        fine_tune: whether the model was evaluated after fine-tuning at clients.
        early_stopping: whether held-out test rows decided when to stop and which round's model is kept.
        predictions: whether predictions for single test rows were written.
        drops_rows: whether rows with missing values were left out, as the study says, however many they are.
        metrics: names of the study's own metrics.
        words: the task kind's words for what was computed.
        at_sites: whether clients are real sites, each with its own noise and its own account.
        noised_counts: whether sites added noise to the counts that scores are computed from.
    """
    score, sums = words.released_score, words.released_sums
    if plan is None:
        rows = [("client updates", "sent as they are; no privacy was asked for")]
    elif plan.mechanism.noises_sum:
        rows = [
            (
                "sum of clipped client updates",
                f"noised at the server, charged: the ({plan.unit}-level) guarantee",
            ),
            ("client updates on their way to the server", "seen by the server, which the guarantee trusts"),
        ]
    elif plan.mechanism.noises_update:
        rows = [("client updates", "clipped and noised by each client before they leave, charged in every round")]
    else:
        what = "per-sample clipped" if plan.mechanism.clips_samples else "clipped batch"
        rows = [("client updates", f"post-processing of noised {what} gradients, charged in every step")]
    if plan is not None:
        grid = "whole steps of about 2^-12 of the noise's standard deviation, whatever the data: no lower bits are left"
        rows.append(("noised sums, gradients, updates and counts", grid))
        stated = "stated by each site, rounded as its policy says" if at_sites else "taken as public"
        rows.append(("number of clients and of training rows of each", f"{stated}: rates and weights use them"))
        sampling_note = "in this simulation's records; ε assumes that who and what was drawn stays secret"
        if at_sites:
            rows.append(
                ("who was in each cohort, bytes and times by round", "seen by the requester and the coordinator")
            )
        else:
            rows.append(("who was in each cohort, bytes and times by round", sampling_note))
            rows.append(("rows processed", "expected numbers, by settings and clients' rows; not those drawn"))
        if drops_rows:
            told = "said to whoever starts the run, on its terminal; in no record, as no noise covers it"
            rows.append(("how many rows with missing values were left out", told))
        rows.append(("the model's code", "trusted to depend on its input and parameters alone; tried, not proven"))
        rows.append(
            ("noise", "drawn at each site from its operating system's entropy; no seed of it is stored anywhere")
            if at_sites
            else ("noise", "drawn from the study's seed (simulated): whoever has the seed can take it off")
        )
    outside = "outside the guarantee"
    if noised_counts:
        outside = "noised and charged by each site whose policy says so"
    elif at_sites:
        outside = "exact, as the sites' owners chose: outside the guarantee"
    rows.append((words.released_test, f"computed on test rows, which no client trains on; {outside}"))
    if metrics:
        rows.append((f"metrics of one's own: {', '.join(metrics)}", "computed on test rows; outside the guarantee"))
    if predictions:
        how = "in predictions.parquet, as the study asks; no client trains on them; outside the guarantee"
        rows.append(("label, prediction, probabilities and groups of each test row", how))
    if early_stopping:
        validation_note = "computed on test rows held out for it, which no client trains on; outside the guarantee"
        rows.append(("when to stop, and which round's model is kept", validation_note))
    if groups:
        rows.append((words.released_groups, f"sums over test rows; {outside}"))
    if per_client:
        dealt = f"{sums} over test rows, dealt to look like what the client trains on; outside the guarantee"
        held_there = f"{sums} over its own test rows, which it does not train on; {outside}"
        rows.append(("figures on each client's share of the test rows", held_there if at_sites else dealt))
    if personal:
        own = f"{sums} over test rows, of what each client keeps to itself; outside the guarantee"
        rows.append((f"{score} of clients' own models over clients", own))
    if fine_tune:
        tuned = f"each trained on its client's rows without noise, which keeps it; its {score} there is told"
        rows.append((f"{score} of fine-tuned models over clients", tuned))
    if not at_sites:
        rows.append(("who held what", "known because this is a simulation; a real client would not tell"))
    if twin:
        rows.append((f"the twin's model and {score}", "trained without privacy: covered by no guarantee"))
    return [{"what": what, "how": how} for what, how in rows]


def totals(rounds: Sequence[RoundRecord], recovered: int, dropped: int = 0, timed_out: int = 0) -> dict[str, Any]:
    """Sums communication, faults, time and throughput over the rounds.

    Args:
        rounds: the run's records.
        recovered: how often the run was resumed.
        dropped: tasks that sites refused. Clients of one process neither drop out nor time out.
        timed_out: tasks that sites did not answer in time.
    """
    stages: dict[str, float] = {}
    for record in rounds:
        for stage, seconds in record.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    samples = sum(record.samples for record in rounds)
    train = stages.get("train", 0.0)
    return {
        "communication": {
            "uplink_bytes": sum(record.uplink_bytes for record in rounds),
            "downlink_bytes": sum(record.downlink_bytes for record in rounds),
            "messages": sum(record.messages for record in rounds),
        },
        "faults": {"dropped": dropped, "timed_out": timed_out, "recovered": recovered},
        "seconds": sum(stages.values()),
        "seconds_by_stage": stages,
        "samples": samples,
        "samples_per_second": samples / train if train else 0.0,
        "peak_rss_mb": peak_rss_mb(),
    }


def peak_rss_mb() -> float:
    """Returns the process's peak resident memory so far, in MB (2^20 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, getrusage starts from the memory of the process that started this one
        kilobytes = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]
        return float(kilobytes) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS reports bytes, other systems kilobytes.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
