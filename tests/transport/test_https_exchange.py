"""The exchange over HTTPS, with mutual TLS on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.transport.https_exchange import HttpsRequester, HttpsSite
from transport.exchange_contract import SITES, ExchangeContract, Parties
from transport.federations import free_port, make, serving


class TestHttpsExchange(ExchangeContract):
    @pytest.fixture
    def parties(self, tmp_path: Path, database: str) -> Iterator[Parties]:
        federation = make(tmp_path, free_port(), database=database)
        keys = {name: identity.key for name, identity in federation.identities.items()}
        with serving(federation.folder) as coordinator:
            requester = HttpsRequester(federation.identities["ada"], 5.0)
            sites = {name: HttpsSite(federation.identities[name]) for name in SITES}
            yield Parties(requester, sites, keys, coordinator.public_key)
            requester.close()
            for site in sites.values():
                site.close()
