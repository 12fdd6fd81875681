"""A round of Flower's deployment: a SuperLink and three SuperNodes on loopback, without TLS.

    pip install flwr==1.42.0 && python flower_deployment.py [ROUNDS]

Each node sends back the array that it was sent, so that a round is what the deployment costs. Times are of
`Grid.send_and_receive` for three messages, as `benchmarks/federation.py` times a round of Accord.
"""

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NODES = 3
SIZES = {"200 KB": 51_200, "8 MB": 2_097_152}
"""Numbers of an array in float32."""
APP = """
import json, time
import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

client = ClientApp()
server = ServerApp()

@client.train()
def train(message: Message, context: Context) -> Message:
    return Message(RecordDict({"arrays": message.content["arrays"]}), reply_to=message)

@server.main()
def main(grid: Grid, context: Context) -> None:
    while len(nodes := list(grid.get_node_ids())) < %(nodes)d:
        time.sleep(0.1)
    found = {}
    for size, numbers in %(sizes)r.items():
        record = ArrayRecord({"w": Array(np.random.default_rng(0).random(numbers, dtype=np.float32))})
        seconds = []
        for _ in range(%(rounds)d):
            content = RecordDict({"arrays": record})
            asked = [Message(content, dst_node_id=node, message_type=MessageType.TRAIN) for node in nodes]
            began = time.perf_counter()
            replies = list(grid.send_and_receive(asked))
            seconds.append(time.perf_counter() - began)
            assert len(replies) == %(nodes)d and not any(reply.has_error() for reply in replies)
        found[size] = seconds
    open(%(out)r, "w").write(json.dumps(found))
"""
PROJECT = """
[project]
name = "echo"
version = "1.0.0"
dependencies = ["flwr"]
[tool.hatch.build.targets.wheel]
packages = ["."]
[tool.flwr.app]
publisher = "accord"
[tool.flwr.app.components]
serverapp = "echo_app:server"
clientapp = "echo_app:client"
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    programs = Path(sys.executable).parent
    with tempfile.TemporaryDirectory(prefix="flower-bench-") as folder:
        home, out = Path(folder), Path(folder) / "seconds.json"
        (home / "app").mkdir()
        values = {"nodes": NODES, "sizes": SIZES, "rounds": rounds, "out": str(out)}
        (home / "app" / "echo_app.py").write_text(APP % values)
        (home / "app" / "pyproject.toml").write_text(PROJECT)
        environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_HOME": str(home / "flwr")}
        environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
        api = free_port()
        (home / "flwr").mkdir()
        (home / "flwr" / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{api}"\ninsecure = true\n'
        )
        superlink = [programs / "flower-superlink", "--insecure", "--port", str(api)]
        running = [subprocess.Popen(superlink, env=environment)]
        try:
            time.sleep(5)
            for _ in range(NODES):
                command = [programs / "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{api}"]
                running.append(subprocess.Popen([*command, "--port", str(free_port())], env=environment))
            time.sleep(5)
            subprocess.run([programs / "flwr", "run", str(home / "app"), "here"], env=environment, check=True)
            end = time.monotonic() + 600
            while not out.exists() or not re.search(r"}$", out.read_text()):
                if time.monotonic() > end:
                    raise SystemExit("no result within 600 s")
                time.sleep(0.5)
            found = {size: statistics.median(seconds) for size, seconds in json.loads(out.read_text()).items()}
            print(json.dumps({"median_s": found, "rounds": rounds}))
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(30)


if __name__ == "__main__":
    main()
