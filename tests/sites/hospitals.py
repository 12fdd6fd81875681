"""Three hospitals' rows, pooled for a simulation and each hospital's own, as its own system writes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accord.config.schema import Study
from accord.orchestration.site_study import received_study, sent_study

SITES = ("east", "north", "west")
SIZES = {"east": 90, "north": 60, "west": 150}
SCHEMA: dict[str, Any] = {
    "target": "back",
    "ranges": {"age": [18, 100], "stay": [0, 60]},
    "categories": {"ward": ["a", "b"], "back": ["no", "yes"], "sex": ["f", "m"]},
    "groups": ["sex"],
}
PRIVATE: dict[str, Any] = {"unit": "sample", "clip_norm": 1.0, "noise_multiplier": 1.0, "delta": 1e-5}


@dataclass(frozen=True)
class Hospitals:
    """Files of rows.

    Attributes:
        pooled: all rows in one file.
        bindings: each hospital's description of its own file, whose columns have names of its own.
    """

    pooled: Path
    bindings: Mapping[str, Path]


def write_hospitals(folder: Path, sizes: Mapping[str, int] = SIZES) -> Hospitals:
    rng = np.random.default_rng(0)
    pooled = ["age,stay,ward,sex,back,hospital"]
    bindings = {}
    for name, n in sizes.items():
        own = ["Alter;Tage;ward;sex;back"]
        for _ in range(n):
            age, stay = rng.integers(20, 90), rng.integers(0, 60)
            ward, sex = rng.choice(["a", "b"]), rng.choice(["f", "m"])
            back = "yes" if rng.random() < (0.7 if age > 60 else 0.2) else "no"
            pooled.append(f"{age},{stay},{ward},{sex},{back},{name}")
            own.append(f"{age};{stay};{ward};{sex};{back}")
        home = folder / name
        home.mkdir()
        (home / "export.csv").write_text("\n".join(own) + "\n", encoding="utf-8")
        bindings[name] = home / "site-data.yaml"
        bindings[name].write_text(
            "data_set: stays\n"
            "schema:\n"
            "  target: back\n"
            "  ranges: {age: [18, 100], stay: [0, 60]}\n"
            "  categories: {ward: [a, b], back: ['no', 'yes'], sex: [f, m]}\n"
            "  groups: [sex]\n"
            "source:\n"
            "  name: csv\n"
            "  path: export.csv\n"
            "  delimiter: ';'\n"
            "  columns: {Alter: age, Tage: stay}\n",
            encoding="utf-8",
        )
    (folder / "pooled.csv").write_text("\n".join(_by_turns(pooled, sizes)) + "\n", encoding="utf-8")
    return Hospitals(folder / "pooled.csv", bindings)


def _by_turns(lines: list[str], sizes: Mapping[str, int]) -> list[str]:
    """The lines with those of the hospitals mixed, each hospital's in their own order."""
    head, *rest = lines
    own = {name: [line for line in rest if line.endswith(f",{name}")] for name in sizes}
    longest = max(map(len, own.values()))
    return [head, *(own[name][at] for at in range(longest) for name in own if at < len(own[name]))]


def study_of(hospitals: Hospitals, engine: str = "sequential", **sections: Any) -> Study:
    given: dict[str, Any] = {
        "data": {
            "name": "sites",
            "data_set": "stays",
            "schema": SCHEMA,
            "simulation": {"path": str(hospitals.pooled), "site": "hospital"},
        },
        "model": {"name": "mlp", "hidden": [4]},
        "training": {"batch_size": 16, "learning_rate": 0.2},
        "program": {"name": "fedavg", "rounds": 3},
        "fairness": {"groups": ["sex", "label"], "positive": "yes"},
        "engine": {"name": engine},
    }
    return Study(**given | sections)


def received(study: Study) -> Study:
    """The study as a site has it."""
    return received_study(sent_study(study))
