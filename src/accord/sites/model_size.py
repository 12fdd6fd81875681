"""Counts the numbers of a study's network without building it: nothing is allocated, whatever a study asks for."""

import torch

from accord.config.schema import Study
from accord.config.sites_data import SitesData
from accord.core.errors import AccordError
from accord.data.sources.sites import schema_shape
from accord.models.adapt import SETTINGS
from accord.models.build import NETWORKS
from accord.sites.refused import RefusedError


def count_parameters(study: Study) -> int | None:
    """Returns how many numbers a study's network has, trained or not. None where the network is the study's own code.

    Low-rank factors and pretrained weights are left out: they are no more than their own settings make them.

    Raises:
        RefusedError: the network does not fit the schema.
    """
    section, data = study.model, study.data
    if section.name == "custom" or not isinstance(data, SitesData):
        return None
    try:
        expected = schema_shape(data)
        options = section.model_dump(exclude={"name", *SETTINGS})
        # On this device tensors have a shape and no memory: a study may ask for more than any machine has.
        with torch.device("meta"):
            network = NETWORKS[section.name](expected.shape, len(expected.class_names) or 1, **options)
    except (AccordError, ValueError, TypeError, RuntimeError) as error:
        raise RefusedError("model", f"model {section.name} does not fit the schema") from error
    return sum(value.numel() for value in network.parameters())
