"""The time of a round across three sites: real processes on loopback, mutual TLS, signed policy, ledger and journal.

    python benchmarks/federation.py                # 200 KB and 8 MB of parameters
    python benchmarks/federation.py --rounds 100

Each site has 2,000 rows and takes one local step of 16 rows, so that a round is what the federation costs. The time is
that of `train` in the run's records: from the offer of a round to the sum of its answers. Nothing else may run.
"""

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml

from accord.config.load import make_study
from accord.orchestration.runs import run
from accord.sites import agent_process
from accord.sites.policy import sign_policy
from accord.sites.site_setup import make_site
from accord.transport import server
from accord.transport.enrolment import read_request
from accord.transport.federation_folder import Settings, invitation, make_federation, open_coordinator
from accord.transport.joining import join
from accord.transport.keys import load_key, public_hex

SITES = ("east", "north", "west")
SIZES = {"200 KB": 512, "8 MB": 20_000}
"""Width of the one hidden layer over 96 features and 2 classes, by the size of the parameters in float32."""
FEATURES = 96


def schema() -> dict[str, object]:
    names = {f"x{i}": [0.0, 1.0] for i in range(FEATURES)}
    return {"target": "y", "ranges": names, "categories": {"y": ["no", "yes"]}}


def rows(seed: int) -> str:
    rng = np.random.default_rng(seed)
    lines = [",".join([*(f"x{i}" for i in range(FEATURES)), "y"])]
    for values in rng.random((2500, FEATURES)).round(3):
        lines.append(",".join(map(str, values)) + (",yes" if values[0] + rng.normal(0, 0.1) > 0.5 else ",no"))
    return "\n".join(lines) + "\n"


def member(coordinator: Path, folder: Path, invited: str, name: str, role: str) -> Path:
    _, path = join(folder, invited, name, name, role)  # type: ignore[arg-type]
    books, authority = open_coordinator(coordinator)
    request = read_request(path)
    books.members.admit(request)
    (folder / "certificate.pem").write_bytes(authority.issue(name, request.public_key))
    books.tables.close()
    return folder


def site(folder: Path, key: str, seed: int, private: bool) -> None:
    make_site(folder)
    (folder / "rows.csv").write_text(rows(seed))
    described = {"data_set": "bench", "schema": schema(), "source": {"name": "csv", "path": str(folder / "rows.csv")}}
    (folder / "data" / "bench.yaml").write_text(yaml.safe_dump(described))
    rule = {
        "data_set": "bench", "requesters": ["ada"], "programs": ["fedavg"], "models": ["mlp"], "approval": "rule",
        "unprotected": not private, "privacy": {"least_noise": 0.1, "most_delta": 1e-3},
        "budget": {"delta": 1e-5, "total": 1e6}, "bounds": {"rounds": 10_000},
    }  # fmt: skip
    policy = {"requesters": [{"name": "ada", "organisation": "ada", "key": key}], "rules": [rule]}
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    sign_policy(folder / "policy.yaml", load_key(folder / "key.pem"))


def measure(home: Path, identity: Path, width: int, rounds: int, private: bool) -> list[float]:
    sections: dict[str, object] = {
        "data": {"name": "sites", "data_set": "bench", "schema": schema()},
        "model": {"name": "mlp", "hidden": [width]},
        "training": {"batch_size": 16, "local_steps": 1, "learning_rate": 0.1},
        "program": {"name": "fedavg", "rounds": rounds},
        "evaluation": {"every": rounds, "checkpoint_every": rounds},
        "engine": {"name": "federation", "identity": str(identity)},
        "trackers": [],
    }
    if private:
        sections["privacy"] = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-5}
    done = run(make_study(sections), home / f"run-{width}-{private}")
    return [record.seconds["train"] for record in done.rounds][5:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with ExitStack() as ending:
        home = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="accord-bench-")))
        coordinator = home / "coordinator"
        make_federation(coordinator, Settings("bench", ("127.0.0.1",), 28470, require_certificates=False))
        server.start(coordinator)
        ending.callback(server.stop, coordinator)
        invited = invitation(coordinator)
        identity = member(coordinator, home / "ada", invited, "ada", "requester")
        key = public_hex(load_key(identity / "key.pem"))
        for seed, name in enumerate(SITES):
            site(member(coordinator, home / name, invited, name, "site"), key, seed, private=False)
            agent_process.start(home / name)
            ending.callback(agent_process.stop, home / name)
        for size, width in SIZES.items():
            for private in (False, True):
                seconds = measure(home, identity, width, arguments.rounds + 5, private)
                low, middle, high = statistics.quantiles(seconds, n=4)
                what = f"{size}, {'unit sample' if private else 'without privacy'}"
                found[what] = {"median_s": middle, "low_s": low, "high_s": high, "rounds": len(seconds)}
                print(f"{what}: median {middle:.3f} s ({low:.3f} to {high:.3f}) over {len(seconds)} rounds", flush=True)
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
