"""Which updates are summed in the kernels' layout."""

from collections.abc import Callable

from accord.engines.vectorised.kernel_chunks import sums_packed
from accord.program.local_rule import LocalRule
from accord.tasks.task import Task
from engines.contract import make_plan, make_work


def test_what_is_summed_in_the_kernels_layout(task: Callable[..., Task]) -> None:
    made = task()
    assert all(sums_packed(make_work(made, unit)) for unit in (None, "sample", "batch", "client"))
    assert not sums_packed(make_work(made, "local"))
    assert not sums_packed(make_work(made, "client", plan=make_plan("client", per_layer=True)))
    assert not sums_packed(make_work(made, None, rule=LocalRule(own=made.trainable[:1])))
