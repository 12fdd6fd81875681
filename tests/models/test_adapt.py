"""Pretrained weights, freezing and LoRA, alone and in whole runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import accord
from accord.communication.wire import message_bytes
from accord.config.model import Resnet18Model
from accord.config.schema import Study
from accord.core.errors import AccordError, StudyError
from accord.models.adapt import SETTINGS, adapt
from accord.models.build import build
from accord.models.lora import merge
from accord.orchestration.prepare import prepare
from accord.program import local
from fixed_rounds import played

MLP: dict[str, Any] = {"name": "mlp", "hidden": [5]}
LORA: dict[str, Any] = {"rank": 2, "alpha": 6}
PLAIN: dict[str, Any] = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-3}


def network() -> nn.Module:
    return build("mlp", {"hidden": (5,)}, (4,), 3, seed=1)


def trained(model: nn.Module) -> list[str]:
    return [name for name, value in model.named_parameters() if value.requires_grad]


def test_the_settings_are_those_of_the_schema() -> None:
    own = set(Resnet18Model.model_fields) - {"name", "stem", "groups", "width"}
    assert own == set(SETTINGS)


def test_freezing_by_pattern() -> None:
    assert trained(adapt(network(), {"freeze": ["1.*"]}, 0)) == ["3.weight", "3.bias"]
    assert trained(adapt(network(), {"freeze": ["*.bias", "3.weight"]}, 0)) == ["1.weight"]
    assert trained(adapt(network(), {}, 0)) == ["1.weight", "1.bias", "3.weight", "3.bias"]


def test_what_else_is_trained_beside_factors() -> None:
    lora = {"rank": 2, "alpha": 6.0, "layers": ("1",), "also_train": ("3.*",)}
    assert set(trained(adapt(network(), {"lora": lora}, 0))) == {"1.lora_a", "1.lora_b", "3.weight", "3.bias"}


def test_factors_are_drawn_from_the_seed_and_leave_the_other_weights_as_they_were() -> None:
    options = {"hidden": (5,), "lora": {"rank": 2, "alpha": 6.0, "layers": ("*",), "also_train": ()}}
    one, two, other = (dict(build("mlp", options, (4,), 3, seed).named_parameters()) for seed in (1, 1, 2))
    assert torch.equal(one["1.lora_a"], two["1.lora_a"])
    assert not torch.equal(one["1.lora_a"], other["1.lora_a"])
    for name, value in network().named_parameters():
        assert torch.equal(one[name], value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"freeze": ["1.*", "features.*"]},
            "model.freeze: 'features.*' matches no parameter (they are: 1.weight, 1.bias, 3.weight, 3.bias)",
        ),
        ({"freeze": ["3.wieght"]}, "model.freeze: '3.wieght' matches no parameter; did you mean '3.weight'?"),
        ({"freeze": ["*"]}, "model.freeze: every parameter is frozen, so there is nothing to train; freeze fewer"),
        (
            {"lora": {"rank": 2, "alpha": 6.0, "layers": ("*",), "also_train": ("head",)}},
            "model.lora.also_train: 'head' matches no parameter",
        ),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        adapt(network(), settings, 0)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pretrained_except": ["3.*"]}, "pretrained_except needs pretrained"),
        ({"pretrained_sha256": "00"}, "pretrained_sha256 needs pretrained"),
        ({"freeze": ["1.*"], "lora": LORA}, "give lora or freeze, not both"),
        ({"lora": {"rnak": 2}}, "model.lora.rnak: unknown key; did you mean 'rank'?"),
        ({"lora": {"rank": 0}}, "model.lora.rank: expected a value >= 1, got 0"),
    ],
)
def test_what_the_study_file_refuses(small_study: Callable[..., Study], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        small_study(model=MLP | settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("engines_share_draws")
@pytest.mark.parametrize("privacy", [None, PLAIN, PLAIN | {"unit": "batch"}, PLAIN | {"unit": "client", "delta": 0.1}])
@pytest.mark.parametrize(
    ("settings", "kept", "sent"),
    [
        ({"freeze": ["1.*"]}, ["1.weight", "1.bias"], ["3.weight", "3.bias"]),
        (
            {"lora": LORA},
            ["1.weight", "1.bias", "3.weight", "3.bias"],
            ["1.lora_a", "1.lora_b", "3.lora_a", "3.lora_b"],
        ),
    ],
    ids=["freeze", "lora"],
)
def test_frozen_parameters_are_neither_changed_nor_sent_nor_noised(
    small_study: Callable[..., Study],
    privacy: dict[str, Any] | None,
    settings: dict[str, Any],
    kept: list[str],
    sent: list[str],
) -> None:
    program = {"name": "fedavg", "rounds": 2, "weights": "uniform"}
    results = {}
    for engine in ("vectorised", "sequential"):
        prepared, params, outcomes = played(
            small_study(
                model=MLP | settings,
                privacy=privacy,
                program=program,
                engine={"name": engine},
                training={"dtype": "float64"},
            )
        )
        results[engine] = params
        for name in kept:
            assert torch.equal(params[name], prepared.initial[name])
        for name in sent:
            assert not torch.equal(params[name], prepared.initial[name])
        size = message_bytes({name: prepared.initial[name] for name in sent})
        assert [outcome.uplink_bytes for outcome in outcomes] == [6 * size] * 2
    for name, value in results["sequential"].items():
        torch.testing.assert_close(results["vectorised"][name], value, rtol=1e-9, atol=1e-12)


def test_the_plan_is_that_of_the_whole_model(small_study: Callable[..., Study]) -> None:
    """Noise and epsilon follow from sampling, steps and the target, whatever share of the model is trained."""
    target = {"unit": "sample", "epsilon": 3.0, "delta": 1e-3}
    choices: list[dict[str, Any]] = [{}, {"freeze": ["1.*"]}, {"lora": LORA}]
    plans = [prepare(small_study(model=MLP | settings, privacy=target)).work.plan for settings in choices]
    assert plans[0] is not None
    assert plans[0] == plans[1] == plans[2]


def test_each_samples_gradient_by_the_factors_is_clipped(small_study: Callable[..., Study]) -> None:
    """A step without its noise is the naive one: clip by the norm over what is trained, sum, divide."""
    training = {"batch_size": 10, "learning_rate": 1.0, "dtype": "float64"}
    privacy = PLAIN | {"clip_norm": 0.1}
    prepared = prepare(small_study(model=MLP | {"lora": LORA}, training=training, privacy=privacy))
    work, rows = prepared.work, prepared.federated.train.rows(0)[:7]
    table = prepared.federated.data.train
    params = {name: value + 0.3 for name, value in prepared.initial.items()}
    names = work.task.trainable
    total = {name: torch.zeros_like(params[name]) for name in names}
    clipped = 0
    for row in rows:
        leaves = {name: value.clone().requires_grad_(name in names) for name, value in params.items()}
        loss = work.task.losses(leaves, table.x[row][None].double(), table.y[row][None])[0]
        gradients = torch.autograd.grad(loss, [leaves[name] for name in names])
        norm = float(sum(each.square().sum() for each in gradients)) ** 0.5
        clipped += norm > 0.1
        for name, each in zip(names, gradients, strict=True):
            total[name] += each * min(1.0, 0.1 / max(norm, 1e-12))
    assert clipped
    assert prepared.work.plan is not None
    grid = prepared.work.plan.noise_std * 2.0**-12
    state = local.start(work, params)
    noise = {name: torch.zeros_like(value) for name, value in total.items()}
    batch = local.Batch(table.x[rows].double(), table.y[rows], torch.ones(7, dtype=torch.float64))
    after = local.step(work, state, batch, 4.0, noise)
    assert set(after.trainable) == set(names)
    for name in names:
        # Clipping stays a millionth inside its bound; what is released is rounded to a grid of 2^-12 of the noise.
        torch.testing.assert_close(params[name] - after.trainable[name], total[name] / 4, rtol=1e-5, atol=grid / 4)
    drawn = local.step_noise(work, params, prepared.streams("noise", 1, 0))
    assert drawn is not None
    assert set(drawn) == set(names)


def test_the_merged_model_file_is_the_plain_networks(small_study: Callable[..., Study], tmp_path: Path) -> None:
    study = small_study(model=MLP | {"lora": LORA})
    run = accord.run(study, tmp_path / "lora")
    merged = merge(load_file(tmp_path / "lora" / "model.safetensors"), alpha=6)
    plain = prepare(small_study(model=MLP))
    assert {name: value.shape for name, value in merged.items()} == {
        name: value.shape for name, value in plain.initial.items()
    }
    adapted = prepare(study)
    x = adapted.federated.data.test.x
    torch.testing.assert_close(plain.work.task.predict(merged, x), adapted.work.task.predict(run.params, x))


def test_a_runs_model_is_where_the_next_one_starts(small_study: Callable[..., Study], tmp_path: Path) -> None:
    first = accord.run(small_study(model=MLP), tmp_path / "first")
    path = str(tmp_path / "first" / "model.safetensors")
    prepared = prepare(small_study(model=MLP | {"pretrained": path}, seed=9))
    for name, value in prepared.initial.items():
        assert torch.equal(value, first.params[name])


def test_the_file_is_pinned_and_another_is_refused_on_resume(small_study: Callable[..., Study], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    initial = prepare(small_study(model=MLP)).initial
    save_file(initial, path)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    study = small_study(model=MLP | {"pretrained": str(path)})
    stopped = accord.run(study, tmp_path / "run", on_round=interrupt)
    digest = accord.open_run(tmp_path / "run").study.model.pretrained_sha256
    assert digest is not None
    assert stopped.study.model.pretrained_sha256 == digest
    content = path.read_bytes()
    save_file({name: value + 1 for name, value in initial.items()}, path)
    with pytest.raises(AccordError, match="put back the file it was made with") as caught:
        accord.resume(tmp_path / "run")
    assert caught.value.exit_code == 2
    path.write_bytes(content)
    whole = accord.run(study, tmp_path / "whole")
    resumed = accord.resume(tmp_path / "run")
    assert all(torch.equal(resumed.params[name], value) for name, value in whole.params.items())


def test_runs_from_other_weights_draw_other_noise(small_study: Callable[..., Study], tmp_path: Path) -> None:
    initial = prepare(small_study(model=MLP)).initial
    fingerprints = set()
    for number in range(2):
        path = tmp_path / "w.safetensors"
        save_file({name: value + number for name, value in initial.items()}, path)
        fingerprints.add(prepare(small_study(model=MLP | {"pretrained": str(path)}, privacy=PLAIN)).fingerprint)
    assert len(fingerprints) == 2
