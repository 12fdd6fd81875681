"""Prepares a study to run. Everything that can be refused is refused here, before anything is written.

Each package makes its own part of a run from its own section of the study: data, model, privacy, program, engine. This
module only combines the parts. It builds values and touches no disk but the data's, while `runs` executes them and
writes records. The split makes it visible that nothing half-written is left behind, since the part that can refuse
cannot write.
"""

from accord.config.schema import Study
from accord.core.timing import Timed, untimed
from accord.data.federated import DataSet, FederatedData
from accord.data.prepare import check_stated, describe_rows, prepare_data
from accord.orchestration.charging import check_ledger, open_accounts
from accord.orchestration.engine import check_per_sample, device_of, prepare_engine
from accord.orchestration.evaluation_set import hold_out_rows, metrics_of, sensitive_groups
from accord.orchestration.fingerprint import run_fingerprint
from accord.orchestration.prepared import Prepared
from accord.program import client_work, registry, study_task
from accord.records.ledger_file import JointLedger
from accord.records.trackers import check_trackers


def prepare(
    study: Study,
    name: str = "study",
    federated: FederatedData | None = None,
    timed: Timed = untimed,
    *,
    rows: DataSet | None = None,
    joint: JointLedger | None = None,
) -> Prepared:
    """Builds everything that a run needs.

    Args:
        study: what to run.
        name: the study's name.
        federated: data already loaded and assigned for this study's `data`, `partition`, `imbalance` and `seed`.
        timed: a stopwatch.
        rows: rows in memory, for a study whose `data.name` is `in_memory`.
        joint: an open joint ledger that the run is to charge.

    Raises:
        RequestError: anything wrong with the study, the data, or their combination.
    """
    check_trackers(study)
    if joint is not None:
        check_ledger(study, joint.path)
    if rows is not None:
        study = study.model_copy(update={"data": describe_rows(study.data, study.partition, rows)})
    with timed("data"):
        if federated is None:
            named = study.fairness.groups if study.fairness is not None else ()
            federated = prepare_data(study.data, study.partition, study.imbalance, study.seed, rows, named)
    sizes = federated.train.sizes()
    registry.check_population(study, len(sizes))
    federated = hold_out_rows(study.evaluation, federated, study.seed)
    study = study.model_copy(update={"model": study_task.pin_weights(study.model)})
    data = federated.data
    metrics = metrics_of(study.evaluation, data)
    task = study_task.make_task(study.model, data, study.seed, study.training)
    device = device_of(study.engine)
    # After the weights are pinned, so that a changed file of weights makes another run.
    fingerprint = run_fingerprint(study, federated, task, device)
    with timed("accounting"):
        accounts = open_accounts(study, name, federated, fingerprint, joint)
    if accounts.plan is not None:
        check_stated(data)
        study_task.check_stateless(study.model.name, task, data, accounts.streams("trial", 0, 0))
    work = client_work.make_work(study.training, task, accounts.plan, study.program.rounds)
    check_per_sample(work, data.train)
    initial = {key: value.to(device) for key, value in task.init(work.dtype).items()}
    groups, positive = sensitive_groups(study.fairness, data)
    return Prepared(
        study=study,
        name=name,
        federated=federated,
        work=work,
        program=registry.make_program(study, work, sizes),
        engine=prepare_engine(study, federated, accounts.streams, work, initial, timed),
        ledger=accounts.ledger,
        streams=accounts.streams,
        initial=initial,
        groups=groups,
        positive=positive,
        fingerprint=accounts.fingerprint,
        entry=accounts.entry,
        metrics=metrics,
    )
