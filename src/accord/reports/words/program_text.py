"""What the report says of the federated algorithm, in a sentence or two."""

from typing import assert_never

from accord.config.program import (
    AflProgram,
    AveragingSection,
    CyclicProgram,
    DittoProgram,
    FedAvgProgram,
    FedBnProgram,
    FedNovaProgram,
    FedOptProgram,
    FedProxProgram,
    FedSgdProgram,
    Program,
    QfflProgram,
    SampledSection,
    ScaffoldProgram,
)
from accord.config.robust import (
    GeometricMedianProgram,
    KrumProgram,
    MedianProgram,
    MultiKrumProgram,
    TrimmedMeanProgram,
)
from accord.reports.words.formatting import count, plain


def program_text(program: Program, population: int) -> str:
    """Names the algorithm, who takes part in a round, and how updates are weighed."""
    rounds, who = count(program.rounds, "round"), _who(program, population)
    if isinstance(program, CyclicProgram):
        order = "in an order drawn anew each round" if program.order == "shuffled" else "by number"
        hops = who.replace("all clients take part", "every client takes its turn")
        return (
            f"Cyclic: in each of {rounds} the model hops from client to client, {order}; {hops}. Nothing is averaged."
        )
    return f"{_what(program)}: in each of {rounds} {who}{_weights(program)}."


def _who(program: Program, population: int) -> str:
    if isinstance(program, SampledSection) and program.cohort_sampling == "poisson":
        return f"each client takes part independently, {program.cohort_size} of {count(population)} expected"
    if program.cohort_size is None or program.cohort_size >= population:
        return "all clients take part"
    return f"{program.cohort_size} of {count(population, 'client')} are drawn without replacement"


def _weights(program: Program) -> str:
    if not isinstance(program, AveragingSection):
        return ""
    if program.weights == "uniform":
        return ", and updates are weighed alike"
    cap = f", {count(program.weight_cap)} rows at most" if program.weight_cap else ""
    return f", and updates are weighed by their client's rows{cap}"


def _what(program: Program) -> str:
    match program:
        case FedAvgProgram():
            return "Federated averaging (McMahan et al. 2017)"
        case FedSgdProgram():
            return "FedSGD (McMahan et al. 2017), one step on all of a client's rows"
        case FedProxProgram():
            return f"FedProx (Li et al. 2020), each client held to the round's model by μ = {program.mu:g}"
        case FedOptProgram():
            kind = {"adam": "FedAdam", "yogi": "FedYogi", "adagrad": "FedAdagrad", "sgd": "FedAvgM"}
            rate = f"server learning rate {program.server_learning_rate:g}"
            return f"{kind[program.server_optimizer]} (Reddi et al. 2021), {rate}, momentum {program.server_momentum:g}"
        case FedNovaProgram():
            return "FedNova (Wang et al. 2020), updates divided by their local steps"
        case ScaffoldProgram():
            return f"SCAFFOLD (Karimireddy et al. 2020), server learning rate {program.server_learning_rate:g}"
        case DittoProgram():
            return f"Ditto (Li et al. 2021), a model of each client's own beside the global one, λ = {program.mu:g}"
        case FedBnProgram():
            own = "normalisation layers" if program.local_layers is None else plain(", ".join(program.local_layers))
            return f"Federated averaging of all but each client's own {own} (FedBN, Li et al. 2021)"
        case AflProgram():
            return f"Agnostic federated learning (Mohri et al. 2019), mixture step {program.mixture_learning_rate:g}"
        case QfflProgram():
            return f"q-fair federated learning (Li et al. 2020), q = {program.q:g}"
        case MedianProgram():
            return "Coordinate-wise median of the updates (Yin et al. 2018)"
        case TrimmedMeanProgram():
            return f"Coordinate-wise mean of the updates, {program.trim:.0%} trimmed at either end (Yin et al. 2018)"
        case KrumProgram():
            return f"Krum (Blanchard et al. 2017), {count(program.malicious, 'malicious client')} allowed for"
        case MultiKrumProgram():
            return f"Multi-Krum (Blanchard et al. 2017), {count(program.malicious, 'malicious client')} allowed for"
        case GeometricMedianProgram():
            return "Geometric median of the updates (RFA, Pillutla et al. 2022)"
        case CyclicProgram():
            return "Cyclic weight transfer (Chang et al. 2018)"
        case _:
            assert_never(program)
