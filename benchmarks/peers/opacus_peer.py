"""Opacus 1.6, one client of 6,000 rows, a round is an epoch: python opacus_peer.py FOLDER NETWORK MODE [THREADS].

MODE is `hooks`, `functorch`, `ew` (expanded weights) or `ghost`; batches are Poisson, 250 on average.
"""

import sys
import time
import warnings

import torch
import workload
from opacus import PrivacyEngine
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

ROWS, BATCH, RATE, NOISE, CLIP = 6_000, 250, 0.05, 1.0, 1.0


class Rows(TensorDataset):
    """Gathers a whole batch at once, far quicker than row by row."""

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        rows = torch.tensor(indices)
        return tuple(tensor[rows] for tensor in self.tensors)


def main() -> None:
    lines = workload.Lines()
    folder, name, mode = sys.argv[1:4]
    torch.set_num_threads(int(sys.argv[4]) if len(sys.argv) > 4 else 2)
    warnings.filterwarnings("ignore")
    model, loss = workload.network(name), nn.CrossEntropyLoss()
    rows = Rows(*(tensor[:ROWS] for tensor in workload.load(folder, "train")))
    made = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=RATE),
        criterion=loss,
        data_loader=DataLoader(rows, batch_size=BATCH, collate_fn=tuple),
        noise_multiplier=NOISE,
        max_grad_norm=CLIP,
        grad_sample_mode=mode,
    )
    private, optimizer, *criterion, loader = made  # ghost clipping alone has a criterion of its own
    loss = criterion[0] if criterion else loss
    lines.ready()
    while lines.go():
        began, samples = time.perf_counter(), 0
        for x, y in loader:
            optimizer.zero_grad()
            loss(private(x), y).backward()
            optimizer.step()
            samples += len(y)
        seconds = time.perf_counter() - began
        lines.tell(seconds, samples, workload.accuracy(model, folder))


if __name__ == "__main__":
    main()
