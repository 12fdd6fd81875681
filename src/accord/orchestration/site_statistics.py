"""Statistics of the sites' rows before any training, which each site noises and charges by its own policy."""

from collections.abc import Mapping
from typing import Any

from accord.config.schema import Study
from accord.config.sites_data import SitesData
from accord.core.errors import FederationError
from accord.core.params import Params
from accord.data.sources.sites import schema_shape
from accord.engines.federation.calls import SiteCalls
from accord.engines.federation.encoding import decode
from accord.orchestration.site_requests import new_job
from accord.orchestration.site_study import check_for_sites
from accord.transport.exchange import RequesterExchange

DESCRIBE = 1
"""The number of this question among those before training. The plan is number 0."""


def describe_rows(study: Study, exchange: RequesterExchange, who: tuple[str, str]) -> dict[str, Any]:
    """Asks the sites for counts and histograms of their rows, over the schema's declared ranges and values.

    Args:
        study: names the data set and its schema.
        exchange: reaches the sites.
        who: the requester's name and organisation.

    Returns:
        `sites`, with each site's `counts`, `epsilon` after the release and `noise`, or its reason to refuse; and
        `total`, the sum of the sites' counts. A count that a site withheld is null, and so is a total that lacks one.

    Raises:
        RequestError: no site offers the data set, or every site refuses.
        Fault: the coordinator cannot be reached.
    """
    engine, data = check_for_sites(study)
    job = exchange.submit(new_job(study, data.data_set, exchange, who, engine.purpose)).message
    calls = SiteCalls(exchange, job, engine.deadline_s)
    replies = calls.ask("describe", job.sites, 0, dict.fromkeys(job.sites, DESCRIBE), 0, b"")
    if not replies.answered:
        raise FederationError("no site tells statistics of its rows: " + "; ".join(replies.missing.values()))
    counts = {site: decode(reply.result) for site, reply in replies.answered.items()}
    names = {f"group/{name}": values for name, values in schema_shape(data).groups.items()}
    names["labels"] = schema_shape(data).class_names
    names |= _bins(data)
    sent = {name for arrays in counts.values() for name in arrays}
    names |= {name: ("there", "missing") for name in sent if name.startswith("missing/")}
    told = {
        site: {"counts": _readable(counts[site], names), "epsilon": reply.answer.epsilon, **dict(reply.answer.values)}
        for site, reply in replies.answered.items()
    }
    refused = {site: {"refused": reason} for site, reason in replies.missing.items()}
    return {"sites": told | refused, "total": _totals([each["counts"] for each in told.values()])}


def _bins(data: SitesData) -> dict[str, tuple[str, ...]]:
    """Returns what the entries of a column's counts are, where each is one value or one year."""
    schema = data.schema
    values = {f"column/{name}": values for name, values in schema.categories.items()}
    spans = {name: schema.ranges[name] for name in schema.dates if name in schema.ranges}
    years = {f"column/{name}": tuple(map(str, range(int(low), int(high) + 1))) for name, (low, high) in spans.items()}
    return values | years


def _readable(counts: Params, names: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Returns counts as JSON-ready values, by the names of groups and classes where these are known."""
    found: dict[str, Any] = {}
    for name, values in counts.items():
        plain = [None if value < 0 else round(value, 1) for value in values.tolist()]
        known = names.get(name, ())
        found[name] = dict(zip(known, plain, strict=True)) if len(known) == len(plain) else plain
    return found


def _totals(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Adds the sites' counts. What one of them withheld is unknown in the total, too."""

    def add(values: list[Any]) -> Any:
        if isinstance(values[0], dict):
            return {name: add([value[name] for value in values]) for name in values[0]}
        if isinstance(values[0], list):
            return [add(list(each)) for each in zip(*values, strict=True)]
        return None if None in values else round(sum(values), 1)

    return {name: add([part[name] for part in parts]) for name in parts[0]}
