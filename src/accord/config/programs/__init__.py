"""The `program` section, which names the federated algorithm. Each program is one file and one line of `PROGRAMS`.

A new program is a file here with its section, a module of `accord.program` with its algorithm, and its line in the
table. Nothing else names it.
"""

import functools
import operator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from accord.config.programs.afl import AflProgram
from accord.config.programs.base import AveragingSection, ProgramSection, SampledSection
from accord.config.programs.custom import CustomProgram
from accord.config.programs.cyclic import CyclicProgram
from accord.config.programs.ditto import DittoProgram
from accord.config.programs.fedavg import FedAvgProgram as FedAvgProgram
from accord.config.programs.fedavg import FedSgdProgram
from accord.config.programs.fedbn import FedBnProgram
from accord.config.programs.fednova import FedNovaProgram
from accord.config.programs.fedopt import FedOptProgram
from accord.config.programs.fedprox import FedProxProgram
from accord.config.programs.qffl import QfflProgram
from accord.config.programs.robust import (
    BulyanProgram,
    CentredClippingProgram,
    GeometricMedianProgram,
    KrumProgram,
    MedianProgram,
    MultiKrumProgram,
    TrimmedMeanProgram,
)
from accord.config.programs.scaffold import ScaffoldProgram

PROGRAMS: tuple[type[ProgramSection], ...] = (
    FedAvgProgram,
    FedProxProgram,
    FedSgdProgram,
    FedOptProgram,
    FedNovaProgram,
    ScaffoldProgram,
    DittoProgram,
    FedBnProgram,
    AflProgram,
    QfflProgram,
    MedianProgram,
    TrimmedMeanProgram,
    KrumProgram,
    MultiKrumProgram,
    GeometricMedianProgram,
    BulyanProgram,
    CentredClippingProgram,
    CyclicProgram,
    CustomProgram,
)
"""Every program's section, in the order in which messages list them."""

if TYPE_CHECKING:
    Program = ProgramSection
else:
    # Pydantic picks the class by `name`; whoever reads a study knows it as a `ProgramSection`, never as one of these.
    Program = Annotated[functools.reduce(operator.or_, PROGRAMS), Field(discriminator="name")]

__all__ = [
    "PROGRAMS",
    "AveragingSection",
    "Program",
    "ProgramSection",
    "SampledSection",
]
