"""Which programs compose with which privacy units, as their sections state it. What no section states is refused."""

from typing import get_args

from accord.config.privacy import ClientPrivacy, Privacy
from accord.config.programs import PROGRAMS, AveragingSection, ProgramSection

SECTIONS = {get_args(section.model_fields["name"].annotation)[0]: section for section in PROGRAMS}
"""Name to section."""

COMPOSES: dict[str, tuple[str, ...]] = {name: section.units for name, section in SECTIONS.items()}
"""Program to the units it composes with. Units `sample` and `batch` noise the local steps, and `local` the update, so
that what the server makes of them is post-processing. Unit `client` needs a sum of clipped updates to noise."""


def refusal(program: str, unit: str) -> str | None:
    """Returns why the program is refused under the unit. None where it composes.

    >>> refusal("fedavg", "client") is None
    True
    >>> refusal("krum", "client")
    'program krum does not compose with privacy.unit client: no sum of clipped updates is formed; use unit sample, \
batch or local, or program fedavg'
    """
    section = SECTIONS.get(program, ProgramSection)
    units = section.units
    if unit in units:
        return None
    last = f"{', '.join(units[:-1])} or {units[-1]}" if units else ""
    instead = f"use unit {last}, or program fedavg" if units else "use program fedavg"
    return f"program {program} does not compose with privacy.unit {unit}: {section.why_not}; {instead}"


def combination(program: ProgramSection, privacy: Privacy | None) -> str | None:
    """Returns why the two sections are refused together. None where they compose.

    Args:
        program: the study's `program` section.
        privacy: the study's `privacy` section, or None without privacy.
    """
    if privacy is None:
        return None
    refused = refusal(program.name, privacy.unit)
    if refused is not None or not isinstance(privacy, ClientPrivacy) or not isinstance(program, AveragingSection):
        return refused
    if program.weights == "size" and program.weight_cap is None:
        return (
            "privacy.unit client with program.weights size has no bound on a client's weight; "
            "set program.weights to uniform or give program.weight_cap"
        )
    if privacy.adaptive is not None and program.weights != "uniform":
        return "privacy.adaptive counts clients, each once; set program.weights to uniform"
    if privacy.adaptive is not None and privacy.per_layer:
        return "privacy.adaptive counts whole updates; drop per_layer"
    return None
