"""Named random streams, the source of every random draw of a run, so that no draw depends on scheduling.

A stream is a counter-based generator (Philox, Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"). Its
128-bit key is a hash of (seed, purpose, round, client). The same four values give the same draws on any engine, in any
order and at any thread count. The global generators of NumPy and PyTorch are left as they are.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

Streams = Callable[[str, int, int], np.random.Generator]
"""A run's `stream` with its seed bound, called as `streams(purpose, round, client)`."""


def _key(seed: int, purpose: str, round_number: int, client: int) -> int:
    # Built-in `hash` is salted for each process. Every draw of every earlier run depends on this text.
    text = f"accord/{seed}/{purpose}/{round_number}/{client}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def stream(seed: int, purpose: str, round_number: int = 0, client: int = 0) -> np.random.Generator:
    """The generator for one purpose in one round at one client.

    Args:
        seed: the study's seed.
        purpose: what is drawn, such as `rows`, `noise`, `cohort`, `partition`. Different purposes have independent
            streams.
        round_number: the round, counted from 1. 0 is for draws made once a run.
        client: the client's number. -1 is the server.

    Returns:
        A fresh generator at the start of its stream.

    >>> a, b = stream(7, "rows", 1, 3), stream(7, "rows", 1, 3)
    >>> bool((a.integers(100, size=5) == b.integers(100, size=5)).all())
    True
    """
    return np.random.Generator(np.random.Philox(key=_key(seed, purpose, round_number, client)))


NOISE = "noise"
"""Purpose of a client's privacy noise."""
SERVER_NOISE = "noise of the server"
"""Purpose of the server's privacy noise."""
SAMPLING = ("rows", "cohort")
"""Purposes of the draws by which privacy is amplified, rows of a batch and clients of a cohort."""


def bind(seed: int, run: str = "") -> Streams:
    """Binds the seed of `stream`, giving the streams that a program receives.

    Args:
        seed: the study's seed.
        run: fingerprint of a private run (see `orchestration.fingerprint`), empty without privacy. Noise, batches and
            cohorts depend on it. So two runs with the same seed that differ in anything draw independent noise. With
            the same noise, the difference of their models would be free of noise. They also sample independently.
            Accounting that composes them assumes that the sample of one says nothing about the sample of the other.
            Initial values and partitions depend on the seed only, so that runs can be compared.

    >>> bind(7)("cohort", 1, -1).random() == stream(7, "cohort", 1, -1).random()
    True
    >>> [bind(7, "a")(of, 1, 0).random() == bind(7, "b")(of, 1, 0).random() for of in (NOISE, *SAMPLING, "order")]
    [False, False, False, True]
    """
    of_the_run = (NOISE, SERVER_NOISE, *SAMPLING) if run else ()

    def bound(purpose: str, round_number: int, client: int) -> np.random.Generator:
        return stream(seed, f"{purpose}/{run}" if purpose in of_the_run else purpose, round_number, client)

    return bound


@contextmanager
def isolated_torch(seed: int, purpose: str) -> Iterator[None]:
    """Gives code that uses torch's global generator (module initialisers) a stream of its own.

    The global generator's state is restored afterwards, so nothing outside is affected. This covers the CPU only, since
    modules are built on the CPU and then moved.
    """
    with torch.random.fork_rng(devices=[]):
        # torch takes seeds of 64 bits, and the key has 128.
        torch.default_generator.manual_seed(_key(seed, purpose, 0, 0) % 2**63)
        yield
