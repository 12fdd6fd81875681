"""Which programs compose with which privacy units: the one table. What is not in it is refused."""

ALL = ("sample", "batch", "client", "local")
STEPS = ("sample", "batch")

COMPOSES: dict[str, tuple[str, ...]] = {
    "fedavg": ALL,
    "fedprox": ALL,
    "fedsgd": ALL,
    "fedopt": ALL,
    "fednova": ("sample", "batch", "local"),
    "cyclic": STEPS,
    "scaffold": STEPS,
    "fedbn": STEPS,
    "ditto": (),
    "afl": (),
    "qffl": (),
    "median": ("sample", "batch", "local"),
    "trimmed_mean": ("sample", "batch", "local"),
    "krum": ("sample", "batch", "local"),
    "multi_krum": ("sample", "batch", "local"),
    "geometric_median": ("sample", "batch", "local"),
}
"""Program to the units it composes with. Units `sample` and `batch` noise the local steps, and `local` the update, so
that what the server makes of them is post-processing; unit `client` needs a sum of clipped updates to noise."""

_WHY = {
    "cyclic": "no sum of updates is formed that noise could go on",
    "fednova": "weights by steps are not inside the sensitivity",
    "scaffold": "control variates are sent beside the update and are not clipped",
    "fedbn": "layers that stay with the client are not clipped",
    "ditto": "personal models are trained without noise",
    "afl": "clients' losses would be released without noise",
    "qffl": "clients' losses would be released without noise",
}


def refusal(program: str, unit: str) -> str | None:
    """Why the program is refused under the unit, None where it composes.

    >>> refusal("fedavg", "client") is None
    True
    >>> refusal("krum", "client")
    'program krum does not compose with privacy.unit client: no sum of clipped updates is formed; use unit sample, \
batch or local, or program fedavg'
    """
    units = COMPOSES.get(program, ())
    if unit in units:
        return None
    why = _WHY.get(program, "no sum of clipped updates is formed")
    last = f"{', '.join(units[:-1])} or {units[-1]}" if units else ""
    instead = f"use unit {last}, or program fedavg" if units else "use program fedavg"
    return f"program {program} does not compose with privacy.unit {unit}: {why}; {instead}"
