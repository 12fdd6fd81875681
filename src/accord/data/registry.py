"""The table of data sets. Each module of `sources/` ends with a `Source`, and adding one adds a line here."""

from collections.abc import Mapping

from accord.config.base import Section
from accord.data import in_memory
from accord.data.sources import (
    adult,
    celeba,
    celeba_attributes,
    custom,
    diabetes,
    digits,
    idx,
    occupancy,
    sites,
    synthetic,
    table,
    text,
)
from accord.data.sources.base import Source

SOURCES = (
    digits.SOURCE,
    idx.MNIST,
    idx.FASHION_MNIST,
    adult.SOURCE,
    celeba.SOURCE,
    celeba_attributes.SOURCE,
    occupancy.SOURCE,
    diabetes.SOURCE,
    synthetic.SOURCE,
    text.SOURCE,
    table.SOURCE,
    sites.SOURCE,
    custom.SOURCE,
    in_memory.SOURCE,
)
"""Every data set that a study can name, in the order in which people see them."""

BY_SECTION: Mapping[type[Section], Source] = {source.section: source for source in SOURCES}
"""Each source by the class of its section."""
