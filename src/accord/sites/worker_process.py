"""The process that does a site's work: it reads the rows, prepares a run, and answers one request after the other.

It is started by `accord.sites.worker`, inside the sandbox, as `python -m accord.sites.worker_process LIMITS`. Requests
come on standard input and answers go to standard output as `accord.sites.frames` has them.
"""

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from accord.sites.sandbox import apply_limits

Reply = tuple[dict[str, Any], list[bytes]]


class _Served:
    """What the process has read and prepared so far."""

    def __init__(self) -> None:
        self.federated: Any = None
        self.client = 0
        self.site: Any = None

    def read(self, header: Mapping[str, Any], parts: Sequence[bytes]) -> Reply:
        """Reads the rows by the study's schema, before any code of the study's is loaded."""
        from accord.config.sites_data import SitesData
        from accord.sites.bindings import read_binding, site_rows

        sites = header["sites"]
        # Through JSON text, where a list may become a tuple.
        from accord.transport.messages import canonical

        section = SitesData.model_validate_json(canonical(header["data"]))
        self.client = sites.index(header["site"])
        binding = read_binding(Path(header["binding"]), bytes.fromhex(header.get("cut_key", "")))
        self.federated = site_rows(binding, section, header["site"], sites)
        data = self.federated.data
        return {"rows": len(data.train), "test_rows": len(data.test)}, []

    def prepare(self, header: Mapping[str, Any], parts: Sequence[bytes]) -> Reply:
        """Prepares the run over the rows that were read."""
        from accord.orchestration.site_study import received_study
        from accord.sites.work import prepare

        self.site = prepare(received_study(header["study"]), self.federated, self.client)
        plan = self.site.own.plan
        return {"steps": self.site.steps, "noise_multiplier": None if plan is None else plan.noise_multiplier}, []

    def check(self, header: Mapping[str, Any], parts: Sequence[bytes]) -> Reply:
        """Refuses what a task could be refused for, without a look at a row."""
        from accord.sites.evaluation import check_counted
        from accord.sites.work import check_params, check_work

        params = _decoded(parts[0])
        if header["kind"] == "evaluate":
            check_params(self.site, params)
            if header["noised"]:
                check_counted(self.site)
        else:
            check_work(self.site, header["work"], params)
        return {}, []

    def train(self, header: Mapping[str, Any], parts: Sequence[bytes]) -> Reply:
        """Does a round's client work."""
        from accord.sites.work import train

        carried = _decoded(parts[1]) if parts[1] else None
        done = train(self.site, header["work"], _decoded(parts[0]), header["round"], carried)
        from accord.engines.federation.encoding import encode

        return dict(done.values), [encode(done.update), encode(done.carried) if done.carried else b""]

    def describe(self, header: Mapping[str, Any], parts: Sequence[bytes]) -> Reply:
        """Counts the rows and adds noise."""
        from accord.engines.federation.encoding import encode
        from accord.sites.statistics import counts, released

        found = released(counts(self.federated.data), header["noise"], header["least"])
        return {"noise_multiplier": header["noise"], "arrays": len(found)}, [encode(found)]

    def losses(self, header: Mapping[str, Any], parts: Sequence[bytes]) -> Reply:
        """Computes the mean loss on the training rows."""
        from accord.sites.work import losses

        return losses(self.site, header["work"], _decoded(parts[0])), []

    def evaluate(self, header: Mapping[str, Any], parts: Sequence[bytes]) -> Reply:
        """Sums the model's answers to the test rows."""
        from accord.engines.federation.encoding import encode
        from accord.sites.evaluation import noised_counts, site_sums

        if header["noise"]:
            counts, std = noised_counts(self.site, _decoded(parts[0]), header["noise"], header["least_group"])
            return {"noise_std": std}, [encode(counts)]
        sums = site_sums(self.site, _decoded(parts[0]), header["least_group"])
        return {"n": int(sums["n"])}, [encode(sums)]


def _decoded(content: bytes) -> dict[str, Any]:
    from accord.core.errors import MessageError
    from accord.engines.federation.encoding import decode
    from accord.sites.refused import RefusedError

    try:
        return decode(content)
    except MessageError as error:
        raise RefusedError("model", "the round's parameters are no safetensors") from error


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers requests until the stream ends."""
    from accord.sites.frames import pack, unpack
    from accord.sites.refused import RefusedError

    served = _Served()
    known: dict[str, Callable[[Mapping[str, Any], Sequence[bytes]], Reply]] = {
        name: getattr(served, name) for name in ("read", "prepare", "check", "train", "losses", "evaluate", "describe")
    }
    while (request := unpack(requests.read)) is not None:
        header, parts = request
        try:
            values, results = known[header["op"]](header, parts)
            reply = pack({"ok": True, "values": values}, results)
        except RefusedError as error:
            reply = pack({"ok": False, "code": error.code, "reason": error.reason, "owner": _for_owner(error)})
        except Exception as error:  # noqa: BLE001 - code of others may raise anything, and the process serves on
            reason = "the work failed at this site, whose own log has the cause"
            reply = pack({"ok": False, "code": "fault", "reason": reason, "owner": _for_owner(error)})
        for piece in reply:
            answers.write(piece)
        answers.flush()


def _for_owner(error: BaseException) -> str:
    """Returns the whole story for the site's own log, which never leaves it."""
    return "".join(traceback.format_exception(error))[-20_000:]


def main() -> None:
    """Runs the process."""
    apply_limits(sys.argv[1:4])
    # What code of others prints must not come between the frames.
    answers = os.fdopen(os.dup(1), "wb", buffering=2**20)
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(1)
    serve(os.fdopen(os.dup(0), "rb", buffering=2**20), answers)


if __name__ == "__main__":
    main()
