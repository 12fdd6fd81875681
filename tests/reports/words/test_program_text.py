"""Each program is named, and who takes part is told as it was."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from accord.config.programs import Program
from accord.config.schema import Study
from accord.reports.words.program_text import program_text

PROGRAMS: list[tuple[dict[str, Any], str]] = [
    ({"name": "fedavg"}, "Federated averaging (McMahan et al. 2017): in each of 10 rounds all clients take part"),
    ({"name": "fedsgd"}, "one step on all of a client's rows"),
    ({"name": "fedprox", "mu": 0.5}, "μ = 0.5"),
    ({"name": "fedopt", "server_optimizer": "yogi"}, "FedYogi"),
    ({"name": "fednova"}, "divided by their local steps"),
    ({"name": "scaffold"}, "SCAFFOLD"),
    ({"name": "ditto"}, "λ = 0.1"),
    ({"name": "fedbn", "local_layers": ["0.*"]}, "each client's own 0.*"),
    ({"name": "afl"}, "Agnostic"),
    ({"name": "qffl", "q": 2.0}, "q = 2"),
    ({"name": "median"}, "median"),
    ({"name": "trimmed_mean", "trim": 0.1}, "10% trimmed"),
    ({"name": "krum"}, "2 malicious clients"),
    ({"name": "multi_krum", "malicious": 1}, "1 malicious client "),
    ({"name": "geometric_median"}, "Geometric median"),
    ({"name": "bulyan"}, "Bulyan (El Mhamdi et al. 2018), 1 malicious client allowed for: in each of 10 rounds"),
    ({"name": "centred_clipping", "radius": 0.5}, "clipped to 0.5 around the last round's result"),
    ({"name": "cyclic"}, "every client takes its turn"),
    ({"name": "custom", "function": "my:own"}, "The user's own program, my:own: in each of 10 rounds all clients"),
]


@pytest.mark.parametrize(("settings", "words"), PROGRAMS)
def test_each_is_named(settings: dict[str, Any], words: str) -> None:
    program: Program = TypeAdapter(Program).validate_python(settings)
    assert words in program_text(program, 20)


def test_none_is_left_out() -> None:
    names = {settings["name"] for settings, _ in PROGRAMS}
    schema = Study.model_json_schema()["properties"]["program"]["discriminator"]["mapping"]
    assert names == set(schema)


def test_cohorts() -> None:
    program: Program = TypeAdapter(Program).validate_python(
        {"name": "fedavg", "cohort_size": 5, "cohort_sampling": "poisson", "weights": "uniform"}
    )
    text = program_text(program, 20)
    assert "each client takes part independently, 5 of 20 expected, and updates are weighed alike" in text
