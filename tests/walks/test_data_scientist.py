"""A data scientist's afternoon: a table, a study, a run, its fairness compared, predictions, and a notebook."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from walks.conftest import Shell

NOTEBOOK = """
import pandas as pd
import accord

study = accord.load_study("private.yaml", ["program.rounds=3"])
run = accord.run(study, "notebook")
print(run._repr_html_()[:4])
run.plot().savefig("run.png")
rows = pd.read_csv("new.csv")
found = pd.DataFrame(run.model.predict(rows).columns())
assert len(found) == len(rows)
assert set(found["prediction"]) <= {"paid", "default"}
assert (found.filter(like="probability_").sum(axis=1) - 1).abs().max() < 1e-9
again = pd.DataFrame(accord.load_model("notebook").predict(rows).columns())
pd.testing.assert_frame_equal(found, again)
"""
STUDY = """
data:
  name: csv
  path: loans.csv
  target: outcome
  groups: [sex]
  ranges: {income: [0, 200], age: [18, 100]}
  categories: {purpose: [car, house, study], sex: [f, m], outcome: [default, paid]}
partition: {name: iid, num_partitions: 5}
model: logistic
training: {learning_rate: 0.5, batch_size: 20}
program: {name: fedavg, rounds: 5}
privacy: {unit: sample, epsilon: 8.0, delta: 1.0e-3}
fairness: {groups: [sex], positive: paid}
evaluation: {twin: true}
"""


def loans(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    income = rng.uniform(10, 190, rows).round(1)
    frame = pd.DataFrame(
        {
            "income": income,
            "age": rng.integers(18, 90, rows),
            "purpose": rng.choice(["car", "house", "study"], rows),
            "sex": rng.choice(["f", "m"], rows),
        }
    )
    frame["outcome"] = np.where(income + rng.normal(0, 30, rows) > 90, "paid", "default")
    return frame


@pytest.mark.slow
def test_from_a_table_to_predictions(shell: Shell, tmp_path: Path) -> None:
    loans(800, 1).to_csv(tmp_path / "loans.csv", index=False)
    loans(50, 2).drop(columns=["outcome", "sex"]).to_csv(tmp_path / "new.csv", index=False)
    shell("accord init loans.csv --label outcome --positive paid --out loans.yaml")
    first = json.loads(shell("accord run loans.yaml --set program.rounds=3 --out first --json --quiet").stdout)
    assert (first["status"], first["rounds"]) == ("done", 3)
    assert first["fairness"]["groups"].keys() >= {"sex=f", "sex=m"}
    shell("accord init loans.csv --label outcome --private --out blank.yaml")
    blanks = shell("accord run blank.yaml", 2).stderr
    assert "Traceback" not in blanks
    (tmp_path / "private.yaml").write_text(STUDY)
    plan = json.loads(shell("accord run private.yaml --dry-run --json").stdout)
    assert plan["privacy"]["epsilon_planned"] <= 8.0
    for seed in (1, 2):
        done = shell(f"accord run private.yaml --set seed={seed} --out run{seed} --json --quiet")
        assert json.loads(done.stdout)["privacy"]["epsilon"] <= 8.0
    assert json.loads(shell("accord compare run1 run2 --html both.html --json").stdout)
    shell("accord predict run1 new.csv --out found.csv")
    found = pd.read_csv(tmp_path / "found.csv")
    assert list(found) == ["prediction", "probability_default", "probability_paid"]
    rich = pd.read_csv(tmp_path / "new.csv")["income"] > 150
    assert (found["prediction"][rich] == "paid").mean() > 0.8
    refused = shell("sed s/income/incom/ new.csv >bad.csv; accord predict run1 bad.csv", 2)
    assert "no column 'income', which the model needs; did you mean 'incom'?" in refused.stderr
    shell("accord export run1 --format parquet")
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    assert shell("python notebook.py", MPLBACKEND="agg").stdout.startswith("<pre")
