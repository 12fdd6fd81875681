"""Which programs compose with which privacy units, as their sections state it. What no section states is refused."""

from typing import get_args

from accord.config.programs import PROGRAMS, ProgramSection

SECTIONS = {get_args(section.model_fields["name"].annotation)[0]: section for section in PROGRAMS}
"""Name to section."""

COMPOSES: dict[str, tuple[str, ...]] = {name: section.units for name, section in SECTIONS.items()}
"""Program to the units it composes with. Units `sample` and `batch` noise the local steps, and `local` the update, so
that what the server makes of them is post-processing; unit `client` needs a sum of clipped updates to noise."""


def refusal(program: str, unit: str) -> str | None:
    """Why the program is refused under the unit, None where it composes.

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
