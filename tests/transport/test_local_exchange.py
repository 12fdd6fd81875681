"""The exchange within one process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.transport.federation_folder import open_coordinator
from accord.transport.local_exchange import Bell, LocalRequester, LocalSite
from transport.exchange_contract import SITES, ExchangeContract, Parties
from transport.federations import make


class TestLocalExchange(ExchangeContract):
    @pytest.fixture
    def parties(self, tmp_path: Path, database: str) -> Iterator[Parties]:
        federation = make(tmp_path, 1, database=database)
        coordinator, _ = open_coordinator(federation.folder)
        bell = Bell()
        coordinator.changed = bell
        keys = {name: identity.key for name, identity in federation.identities.items()}
        requester = LocalRequester(coordinator, bell, "ada", keys["ada"])
        sites = {name: LocalSite(coordinator, bell, name) for name in SITES}
        yield Parties(requester, sites, keys, coordinator.public_key)
        coordinator.tables.close()
