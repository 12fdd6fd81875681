"""Flower 1.41's simulation, two Ray workers of one thread each: python flower_peer.py FOLDER NETWORK.

Flower polls for messages every 0.1 s; that is part of its rounds.
"""

import os
import sys
import time

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}

import flower_client
import torch
import workload
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

WORKERS = 2


def warm_up(grid: Grid, config: ConfigRecord) -> None:
    """Waits until the workers run and hold their data."""
    while len(nodes := list(grid.get_node_ids())) < workload.CLIENTS:
        time.sleep(0.1)
    content = RecordDict({"config": config})
    asked = [Message(content, dst_node_id=node, message_type=MessageType.QUERY) for node in nodes[: workload.COHORT]]
    grid.send_and_receive(asked)


def server_app(folder: str, name: str, lines: workload.Lines) -> ServerApp:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        torch.set_num_threads(1)
        model = workload.network(name)
        arrays, config = ArrayRecord(model.state_dict()), ConfigRecord({"folder": folder, "network": name})
        share = workload.COHORT / workload.CLIENTS
        strategy = FedAvg(fraction_train=share, fraction_evaluate=0.0, min_available_nodes=workload.CLIENTS)
        warm_up(grid, config)
        lines.ready()
        while lines.go():
            began = time.perf_counter()
            arrays = strategy.start(grid, arrays, num_rounds=1, train_config=config).arrays
            seconds = time.perf_counter() - began
            model.load_state_dict(arrays.to_torch_state_dict())
            lines.tell(seconds, workload.COHORT * workload.ROWS, workload.accuracy(model, folder))

    return app


if __name__ == "__main__":
    folder, name = sys.argv[1:3]
    run_simulation(
        server_app(folder, name, workload.Lines()),
        flower_client.app,
        workload.CLIENTS,
        backend_config={"init_args": {"num_cpus": WORKERS}, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
