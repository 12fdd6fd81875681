"""The client side of flower_peer.py, in a module of its own so that Ray sends it by name, as `flwr run` would."""

import torch
import workload
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor, nn

app = ClientApp()


def prepared(config: ConfigRecord) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    torch.set_num_threads(1)
    return workload.network(str(config["network"])), workload.clients(str(config["folder"]))


@app.query()
def warm_up(message: Message, context: Context) -> Message:
    prepared(message.content["config"])
    return Message(RecordDict(), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    model, clients = prepared(message.content["config"])
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=workload.RATE)
    x, y = clients[int(context.node_config["partition-id"])]
    order = torch.randperm(len(y))
    for a, b in zip(x[order].split(workload.BATCH), y[order].split(workload.BATCH), strict=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(a), b).backward()
        optimizer.step()
    trained = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": len(y)})}
    return Message(RecordDict(trained), reply_to=message)
