"""Joint ledgers, which record what several runs on one data set charged and compute their epsilon together.

A joint ledger consists of lines. A run's header gives its mechanism as numbers, the privacy unit, and a digest of the
rows of each client. One line a round follows, with the clients and the local steps charged to each. A run that has
ended has a closing line. These lines determine each account's steps under each mechanism. `accounting` composes them at
any delta and by any accountant. A line with an unknown key is refused, since an unknown composition has no epsilon.
In the file each line also has a digest (see `ledger_chain`).

A round is charged once. A run resumed from a checkpoint repeats the rounds after it with the same clients and the same
noise, and finds them already charged. So no line is ever removed, whatever other runs charged in between.

Later mechanisms may be chosen in the light of earlier results. That is covered where the budget is set beforehand,
since a ledger that refuses at a fixed epsilon is a privacy filter (Rogers et al. 2016, arXiv 1605.08294; for Renyi DP
Feldman and Zrnic 2021, arXiv 2008.11193). There are two exceptions: accountant pld, and a later run that raises its
budget after seeing results. The joint epsilon is then that of the mechanisms as run, had they been chosen beforehand.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import PrivacyError
from accord.privacy.accounting import Accountant
from accord.privacy.ledger import Ledger, PastCharges, check_together
from accord.privacy.plan import AdaptiveClipping, PrivacyPlan

FORMAT = 2
"""Version of the line format. Other versions are refused."""

_HEADER = {
    "joint_ledger", "run", "study", "holdings", "population", "sizes", "unit", "relation", "delta", "accountant",
    "mechanism",
}  # fmt: skip
_MECHANISM = {"clip_norm", "noise_multiplier", "sampling", "expected_size", "per_layer", "adaptive"}
_ROUND = {"run", "round", "clients", "steps"}
_CLOSE = {"run", "closed"}


@dataclass(frozen=True)
class Charged:
    """One run in a joint ledger.

    Attributes:
        run: its name in the ledger.
        header: its first line.
        plan: the mechanism, with the delta and accountant of the run itself, and no budget.
        rounds: clients to local steps, one entry a round, from round 1 on.
        closed: whether the run has ended. False for a run that was killed or is still going.
    """

    run: str
    header: Mapping[str, Any]
    plan: PrivacyPlan
    rounds: tuple[dict[int, int], ...]
    closed: bool = False

    def steps(self) -> NDArray[np.int64]:
        """Steps charged to each account, shape `[accounts]`. Unit `client` has one account, charged a step a round."""
        if self.plan.mechanism.shared:
            return np.array([len(self.rounds)], dtype=np.int64)
        steps = np.zeros(self.header["population"], dtype=np.int64)
        for charges in self.rounds:
            clients = np.fromiter(charges, dtype=np.int64, count=len(charges))
            costs = (self.plan.charge(count) for count in charges.values())
            # A round names a client once at most (see `_charges`), so this indexed addition misses no charge.
            steps[clients] += np.fromiter(costs, dtype=np.int64, count=len(charges))
        return steps


def header(
    run: str, study: str, plan: PrivacyPlan, holdings: str, sizes: NDArray[np.int64], first: bool
) -> dict[str, Any]:
    """A run's first line, JSON-ready.

    Args:
        run: its name. No other run in the file may have the same name.
        study: the study's name.
        plan: what it will charge.
        holdings: digest of the training rows and of their assignment to clients.
        sizes: training rows of each client.
        first: whether it is the file's first run. Only this one has `sizes` written, since all runs have the same.
    """
    return {
        "joint_ledger": FORMAT,
        "run": run,
        "study": study,
        "holdings": holdings,
        "population": len(sizes),
        "sizes": np.asarray(sizes).tolist() if first else None,
        "unit": plan.unit,
        "relation": plan.relation,
        "delta": plan.delta,
        "accountant": plan.accountant,
        "mechanism": {
            "clip_norm": plan.clip_norm,
            "noise_multiplier": plan.noise_multiplier,
            "sampling": plan.sampling,
            "expected_size": plan.expected_size,
            "per_layer": plan.per_layer,
            "adaptive": None if plan.adaptive is None else asdict(plan.adaptive),
        },
    }


def charge(run: str, round_number: int, steps: Mapping[int, int]) -> dict[str, Any]:
    """A round's line, JSON-ready, with the clients charged and the local steps each would take."""
    return {"run": run, "round": round_number, "clients": list(steps), "steps": list(steps.values())}


def close(run: str, rounds: int) -> dict[str, Any]:
    """A run's last line, JSON-ready. The run has ended after this number of charged rounds."""
    return {"run": run, "closed": rounds}


def parse(lines: Iterable[Mapping[str, Any]], source: str) -> tuple[Charged, ...]:
    """The runs of a joint ledger, in the order of their headers.

    Args:
        lines: the lines of the file, in order.
        source: name of the file in error messages.

    Raises:
        PrivacyError: a line that is neither a header nor a charge as written here, or runs that do not compose.
    """
    headers: dict[str, Mapping[str, Any]] = {}
    plans: dict[str, PrivacyPlan] = {}
    rounds: dict[str, list[dict[int, int]]] = {}
    closed: set[str] = set()
    for number, line in enumerate(lines, start=1):
        try:
            if "joint_ledger" in line:
                plan = _plan(line)
                _check_position(line, next(iter(headers.values()), None))
                # Comparing with the first run is enough: every later one was itself compared with it.
                check_together(plan, list(plans.values())[:1])
                run = line["run"]
                if run in headers:
                    raise ValueError(f"run {run} is there twice")
                headers[run], plans[run], rounds[run] = line, plan, []
            else:
                _check_keys(line, _CLOSE if "closed" in line else _ROUND)
                run = line["run"]
                if run not in headers:
                    raise ValueError(f"a charge of run {run}, which has no header")
                if run in closed:
                    raise ValueError(f"a charge of run {run}, which was closed")
                if "closed" in line:
                    if _integer(line["closed"], 0) != len(rounds[run]):
                        raise ValueError(f"run {run} closed after {line['closed']} rounds, but has {len(rounds[run])}")
                    closed.add(run)
                    continue
                # Rounds must be consecutive from 1. A gap would mean that a charge is missing.
                rounds[run].append(_charges(line, headers[run]["population"], len(rounds[run]) + 1))
        except (ValueError, TypeError, PrivacyError) as error:
            raise PrivacyError(
                f"ledger {source}, line {number}: {error}; it cannot be accounted: restore the file, or use another"
            ) from error
    return tuple(Charged(run, headers[run], plans[run], tuple(rounds[run]), run in closed) for run in headers)


def _check_keys(line: Mapping[str, Any], known: set[str]) -> None:
    if set(line) != known:
        raise ValueError(f"not a line of a joint ledger, which has {', '.join(sorted(known))}")


def _plan(line: Mapping[str, Any]) -> PrivacyPlan:
    """The mechanism of a header."""
    if line["joint_ledger"] != FORMAT:
        raise ValueError(f"format {line['joint_ledger']!r} is not {FORMAT}, the one this version knows")
    _check_keys(line, _HEADER)
    for key in ("run", "study", "holdings"):
        if not isinstance(line[key], str):
            raise TypeError(f"{key} is not text")
    mechanism = line["mechanism"]
    if not isinstance(mechanism, Mapping) or set(mechanism) != _MECHANISM:
        raise ValueError(f"a mechanism of other settings than {', '.join(sorted(_MECHANISM))}")
    if type(mechanism["per_layer"]) is not bool:
        raise ValueError("per_layer is neither true nor false")
    # No budget, since it is a rule of the run that set it and not a property of the mechanism.
    plan = PrivacyPlan(
        unit=line["unit"],
        clip_norm=_number(mechanism["clip_norm"]),
        noise_multiplier=_number(mechanism["noise_multiplier"]),
        delta=_number(line["delta"]),
        accountant=line["accountant"],
        sampling=mechanism["sampling"],
        expected_size=None if mechanism["expected_size"] is None else _integer(mechanism["expected_size"], 1),
        per_layer=mechanism["per_layer"],
        adaptive=None if mechanism["adaptive"] is None else AdaptiveClipping(**mechanism["adaptive"]),
    )
    # The relation follows from the plan. A line that says otherwise was written by other rules, or changed.
    if line["relation"] != plan.relation:
        raise ValueError(f"neighbouring relation {line['relation']!r} is not that of its mechanism, {plan.relation}")
    return plan


def _check_position(line: Mapping[str, Any], first: Mapping[str, Any] | None) -> None:
    """Checks that a header has the data set of the file's first header, which alone has the sizes of the clients."""
    population, sizes = _integer(line["population"], 1), line["sizes"]
    if first is None:
        if not isinstance(sizes, list) or len([_integer(size, 1) for size in sizes]) != population:
            raise ValueError("the first header lacks the rows of each client")
    elif sizes is not None or (population, line["holdings"]) != (first["population"], first["holdings"]):
        raise ValueError("a run on another data set or partition than the first")


def _charges(line: Mapping[str, Any], population: int, due: int) -> dict[int, int]:
    """The clients of a charge and their steps."""
    if line["round"] != due or isinstance(line["round"], bool):
        raise ValueError(f"round {line['round']!r} of run {line['run']} where round {due} is due")
    clients, steps = line["clients"], line["steps"]
    if not isinstance(clients, list) or not isinstance(steps, list) or len(clients) != len(steps):
        raise ValueError("not as many steps as clients")
    charges = {_integer(client, 0): _integer(count, 0) for client, count in zip(clients, steps, strict=True)}
    if len(charges) != len(clients) or max(charges, default=0) >= population:
        raise ValueError(f"clients are not among {population}, each once")
    return charges


def _integer(value: Any, least: int) -> int:
    # `type`, not `isinstance`, since `True` is an int in Python and must not count as 1.
    if type(value) is not int or value < least:
        raise ValueError(f"{value!r} is not a whole number of at least {least}")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def refuse_other_data(runs: Sequence[Charged], holdings: str, population: int, source: str) -> None:
    """Refuses runs on other rows or another assignment of rows to clients, whose accounts would not be the same.

    Raises:
        PrivacyError: a run is on other data. The message says what differs.
    """
    for charged in runs:
        header = charged.header
        if header["holdings"] != holdings:
            fewer_or_more = header["population"] != population
            clients = f"{header['population']} clients, here {population}"
            what = clients if fewer_or_more else "the rows or their holders differ"
            raise PrivacyError(
                f"{source} is the ledger of another data set or partition ({what}; run {header['study']}); "
                "keep data, partition, imbalance and seed as they are there, or use another file"
            )


def earlier_charges(runs: Iterable[Charged], delta: float, accountant: Accountant) -> tuple[PastCharges, ...]:
    """What runs charged, one entry a mechanism. Runs of the same mechanism are added up.

    Args:
        runs: runs of one joint ledger.
        delta: delta of the plans returned. Like `accountant`, it is not part of a mechanism.
        accountant: accountant of the plans returned.

    Raises:
        PrivacyError: the accountant cannot account one of them.
    """
    found: dict[PrivacyPlan, NDArray[np.int64]] = {}
    for charged in runs:
        # Runs whose plans differ only in delta and accountant become one entry.
        plan, steps = replace(charged.plan, delta=delta, accountant=accountant), charged.steps()
        found[plan] = found[plan] + steps if plan in found else steps
    return tuple(PastCharges(plan, steps) for plan, steps in found.items())


def summary(
    runs: Sequence[Charged], delta: float | None = None, accountant: str | None = None, source: str = "the ledger"
) -> dict[str, Any]:
    """What each run charged, and the epsilon of all together so far, JSON-ready.

    Args:
        runs: runs of one joint ledger.
        delta: delta of the result. None takes the last run's.
        accountant: accountant of the result. None takes the last run's.
        source: name of the file in error messages.

    Returns:
        `epsilon` is that of the worst account, and `per_client` the spread over accounts. `worst` is the client of that
        account (None under unit `client`, where the population has one account). `population`, `delta` and `accountant`
        follow. `runs` has what each run charged, with the `epsilon` of that run alone.

    Raises:
        PrivacyError: no run, an unknown accountant, or delta of 1/n or more.
    """
    if not runs:
        raise PrivacyError(f"{source}: no run has charged it")
    sizes, last = np.array(runs[0].header["sizes"], dtype=np.int64), runs[-1]
    delta = last.plan.delta if delta is None else delta
    by = last.plan.accountant if accountant is None else cast(Accountant, accountant)

    def opened(charged: Charged, before: Sequence[Charged] = ()) -> Ledger:
        plan = replace(charged.plan, delta=delta, accountant=by)
        return replace(Ledger.open(plan, sizes, earlier_charges(before, delta, by)), steps=charged.steps())

    # The ledger of the last run, with all other runs as earlier charges, gives the epsilon of all together.
    together = opened(last, runs[:-1]).epsilons()
    return {
        "population": last.header["population"],
        "delta": delta,
        "accountant": by,
        "epsilon": float(together.max()),
        "per_client": {
            "min": float(together.min()),
            "median": float(np.median(together)),
            "max": float(together.max()),
        },
        "worst": None if last.plan.mechanism.shared else int(together.argmax()),
        "runs": [
            {
                "run": charged.run,
                "study": charged.header["study"],
                "unit": charged.plan.unit,
                "noise_multiplier": charged.plan.noise_multiplier,
                "rounds": len(charged.rounds),
                "closed": charged.closed,
                "steps": int(charged.steps().sum()),
                "epsilon": float(opened(charged).epsilons().max()),
            }
            for charged in runs
        ],
    }
