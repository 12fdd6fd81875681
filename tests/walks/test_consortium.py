"""A consortium's first month, by commands alone: an operator, three data owners, a researcher and an auditor."""

import json
import random
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from walks.conftest import Shell

pytestmark = pytest.mark.slow
HOSPITALS = ("hospital-a", "hospital-b", "hospital-c")
SCHEMA = {
    "target": "readmitted",
    "id": "patient",
    "ranges": {"age": [0, 110], "stay": [0, 60]},
    "categories": {"readmitted": ["no", "yes"], "sex": ["f", "m"]},
    "groups": ["sex"],
}
STUDY = {
    "data": {"name": "sites", "data_set": "readmissions", "schema": SCHEMA},
    "model": {"name": "mlp", "hidden": [8]},
    "training": {"batch_size": 64, "local_steps": 10, "learning_rate": 0.5},
    "program": {"name": "fedavg", "rounds": 4},
    "privacy": {"unit": "sample", "epsilon": 3, "delta": 1e-4},
    "evaluation": {"every": 4},
    "fairness": {"groups": ["sex"], "positive": "yes"},
    "engine": {"name": "federation", "identity": "me", "purpose": "who comes back within 30 days"},
}
FINGERPRINT = re.compile(r"(?:[0-9a-f]{4}-){7}[0-9a-f]{4}")


def policy_of(key: str) -> dict[str, object]:
    rule = {
        "data_set": "readmissions",
        "requesters": ["ada"],
        "programs": ["fedavg"],
        "models": ["mlp"],
        "settings": {"model.hidden": {"most": 64}},
        "privacy": {"units": ["sample"], "least_noise": 0.6, "most_delta": 1e-3},
        "budget": {"delta": 1e-4, "study": 6.0, "total": 12.0},
        "leaves": {"evaluation": {"noise_multiplier": 16.0}},
        "approval": "hand",
    }
    return {"requesters": [{"name": "ada", "organisation": "university", "key": key}], "rules": [rule]}


def patient(hospital: str, row: int, rng: random.Random) -> str:
    age = rng.randint(18, 95)
    back = "yes" if rng.random() < (0.8 if age > 60 else 0.1) else "no"
    return f"{hospital}-{row},{age},{rng.randint(0, 60)},{rng.choice('fm')},{back}\n"


@pytest.fixture
def at_home(shell: Shell, tmp_path: Path) -> Iterator[Shell]:
    """A shell in a home of its own, at whose end nothing runs on."""
    (tmp_path / "home").mkdir()

    def run(line: str, code: int | None = 0, **environment: str) -> object:
        return shell(line, code, HOME=str(tmp_path / "home"), **environment)

    yield run  # type: ignore[misc]
    for name in HOSPITALS:
        run(f"accord site stop --folder {name}", None)
    run("accord federation stop", None)


def test_from_nothing_to_a_verified_run(at_home: Shell, tmp_path: Path) -> None:
    shell = at_home
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    shell(f"accord federation init coordinator --name consortium --host 127.0.0.1 --port {port}")
    shell("accord federation start")
    invitation = shell("accord federation invitation").stdout.split()[-1]
    rng = random.Random(0)
    for name in HOSPITALS:
        made = shell(f"accord site init {name} --federation '{invitation}' --name {name} --organisation {name}")
        wrong = shell(f"accord federation admit {name}/{name}.request.json --fingerprint 0000-0000", 2)
        assert "not 0000-0000" in wrong.stderr
        told = FINGERPRINT.findall(made.stdout)[0]
        shell(f"accord federation admit {name}/{name}.request.json --fingerprint {told}")
        table = tmp_path / f"{name}.csv"
        table.write_text("patient,age,stay,sex,readmitted\n" + "".join(patient(name, row, rng) for row in range(600)))
        source = {"name": "csv", "path": str(table)}
        described = {"data_set": "readmissions", "schema": SCHEMA, "source": source}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(described))
        assert "training and" in shell(f"accord site data add readmissions {name}.yaml --folder {name}").stdout
    joined = shell(f"accord federation join me --federation '{invitation}' --name ada --organisation university").stdout
    shell(f"accord federation admit me/ada.request.json --fingerprint {FINGERPRINT.findall(joined)[0]}")
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy_of(re.findall(r"\b[0-9a-f]{64}\b", joined)[0])))
    for name in HOSPITALS:
        shell(f"accord site policy edit --file policy.yaml --folder {name}")
        shell(f"accord site start --folder {name}")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))

    asked = shell("accord run study.yaml --dry-run", 3).stdout
    assert asked.count("waits for the owner's approval") == 3
    request = asked.split("request ")[1][:12]
    shown = shell(f"accord site show {request} --folder hospital-a").stdout
    assert "who comes back within 30 days" in shown
    shell(f"accord site approve {request} --until 2090-01-31 --epsilon 5 --folder hospital-a")
    shell(f"accord site approve {request} --folder hospital-b")
    shell(f'accord site reject {request} --reason "the board meets in March" --folder hospital-c')
    asked = shell("accord run study.yaml --dry-run").stdout
    assert "the board meets in March" in asked
    assert "2 of 3 sites would take part" in asked
    shell(f"accord site approve {request} --folder hospital-c")
    shell("accord run study.yaml --out first")
    result = json.loads((tmp_path / "first" / "result.json").read_text())
    assert result["status"] == "done"
    assert 2.9 < result["privacy"]["epsilon"] < 3.2
    assert result["privacy"]["test_rows"] == "noised"
    # About 360, with noise of 23 on each of twelve cells, and none below 0.
    assert 0 < result["test"]["n"] < 1000

    # An auditor, with the exported journal and public keys alone.
    exported = shell("accord site journal --export books.json --folder hospital-a").stdout
    assert "whole" in shell(exported.partition("verify it: ")[2]).stdout
    keys = exported.partition("--coordinator-key ")[2].strip()
    assert ", 0 not" in shell(f"accord audit-trail first --journal books.json --coordinator-key {keys}").stdout

    # A new key: not before it is admitted; then the same journal goes on, and the requester takes the new key.
    renewed = shell("accord site renew --key --folder hospital-a").stdout
    assert "is the new key admitted?" in shell("accord site renew --take --folder hospital-a", 2).stderr
    shell(f"accord federation admit hospital-a/hospital-a.request.json --fingerprint {FINGERPRINT.findall(renewed)[0]}")
    shell("accord site stop --folder hospital-a")
    assert "the new key is in place" in shell("accord site renew --take --folder hospital-a").stdout
    shell("accord site start --folder hospital-a")
    shell(f"accord site approve {request} --folder hospital-a")
    shell("accord run study.yaml --out second")
    for name in HOSPITALS:
        assert "whole" in shell(f"accord site verify --folder {name}").stdout
    after = json.loads((tmp_path / "second" / "result.json").read_text())["privacy"]["epsilon"]
    assert 3.5 < after < 6.0

    shell("accord federation revoke ada")
    assert "refuses" in shell("accord run study.yaml --dry-run", None).stderr
    assert "whole" in shell("accord federation status").stdout
