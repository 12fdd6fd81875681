"""The members of a federation: who is admitted, with which key, and which data sets a site offers."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from accord.core.errors import FederationError, MessageError
from accord.transport.enrolment import EnrolmentRequest
from accord.transport.exchange import SiteState, Succession
from accord.transport.keys import verify
from accord.transport.messages import Signed
from accord.transport.tables import MEMBER, SUCCESSION, Tables

COORDINATOR = "coordinator"
"""The coordinator's own name, which no member may have."""


@dataclass(frozen=True)
class Member:
    """A member of the federation.

    Attributes:
        name: how it is known.
        organisation: whose it is.
        role: `site` or `requester`.
        public_key: 32 bytes in hexadecimal.
        state: `admitted` or `revoked`.
    """

    name: str
    organisation: str
    role: str
    public_key: str
    state: str


class Membership:
    """The members, in the coordinator's tables.

    Args:
        tables: where.
        clock: seconds since the epoch.
    """

    def __init__(self, tables: Tables, clock: Callable[[], float] = time.time) -> None:
        self._tables = tables
        self._clock = clock

    def admit(self, request: EnrolmentRequest) -> None:
        """Makes a member of who sent a request. The same request again changes nothing, except that a key is renewed.

        Raises:
            FederationError: another organisation has the name.
        """
        with self._tables.change() as connection:
            known = connection.execute(sa.select(MEMBER).where(MEMBER.c.name == request.name)).first()
            if known is not None and known.organisation != request.organisation:
                raise FederationError(f"{request.name}: {known.organisation} has this name; choose another")
            values = {
                "organisation": request.organisation,
                "role": request.role,
                "public_key": request.public_key,
                "state": "admitted",
            }
            if known is None:
                connection.execute(MEMBER.insert().values(name=request.name, data_sets="[]", **values))
            else:
                connection.execute(MEMBER.update().where(MEMBER.c.name == request.name).values(**values))
                link = request.succession
                if link is not None and link.before == known.public_key:
                    # Requesters believe it by its signature, which `read_request` has checked, too.
                    connection.execute(SUCCESSION.insert().values(name=request.name, **asdict(link)))
            self._tables.note(connection, COORDINATOR, "admit", {"name": request.name, **values})

    def revoke(self, name: str) -> None:
        """Ends a membership. What the member sends from now on is refused.

        Raises:
            FederationError: there is no such member.
        """
        with self._tables.change() as connection:
            done = connection.execute(MEMBER.update().where(MEMBER.c.name == name).values(state="revoked"))
            if not done.rowcount:
                raise FederationError(f"{name}: no such member; accord federation list names them")
            self._tables.note(connection, COORDINATOR, "revoke", {"name": name})

    def members(self) -> list[Member]:
        """Returns everyone who was ever admitted, by name."""
        with self._tables.read() as connection:
            return [_member(row) for row in connection.execute(sa.select(MEMBER).order_by(MEMBER.c.name))]

    def member(self, name: str) -> Member | None:
        """Returns a member, admitted or revoked, or None."""
        with self._tables.read() as connection:
            row = connection.execute(_BY_NAME, {"named": name}).first()
        return None if row is None else _member(row)

    def offer_data(self, site: str, data_sets: Sequence[str]) -> None:
        """Notes which data sets a site offers, by name alone."""
        text = json.dumps(sorted(set(data_sets)))
        with self._tables.change() as connection:
            connection.execute(MEMBER.update().where(MEMBER.c.name == site).values(data_sets=text))
            self._tables.note(connection, site, "data sets", {"names": sorted(set(data_sets))})

    def sites(self) -> list[SiteState]:
        """Returns the admitted sites, by name."""
        now = self._clock()
        query = sa.select(MEMBER).where(MEMBER.c.role == "site", MEMBER.c.state == "admitted").order_by(MEMBER.c.name)
        links: dict[str, list[Succession]] = {}
        with self._tables.read() as connection:
            for row in connection.execute(sa.select(SUCCESSION).order_by(SUCCESSION.c.number)):
                links.setdefault(row.name, []).append(Succession(row.before, row.key, row.signature))
            return [
                SiteState(
                    row.name,
                    tuple(json.loads(row.data_sets)),
                    None if row.seen is None else max(0.0, now - row.seen),
                    row.public_key,
                    tuple(links.get(row.name, ())),
                )
                for row in connection.execute(query)
            ]

    def seen(self, name: str) -> None:
        """Notes that a member was heard of."""
        with self._tables.hint() as connection:
            connection.execute(_SEEN, {"named": name, "now": self._clock()})

    def verified(self, signed: Signed[Any], signer: str) -> Any:
        """Returns the message of an admitted member.

        Raises:
            MessageError: the signer is no member, or its signature does not fit.
        """
        member = self.member(signer)
        if member is None or member.state != "admitted":
            raise MessageError(f"{signer!r} is no member, or was revoked")
        return verify(signed, member.public_key, signer)


# Built once, as they are of every request.
_BY_NAME = sa.select(MEMBER).where(MEMBER.c.name == sa.bindparam("named"))
_SEEN = MEMBER.update().where(MEMBER.c.name == sa.bindparam("named")).values(seen=sa.bindparam("now"))


def _member(row: Any) -> Member:
    return Member(row.name, row.organisation, row.role, row.public_key, row.state)
