"""Who sends a request, and whether it is whole: asked before anything of its body is believed."""

import asyncio

from fastapi import HTTPException, Request

from accord.transport import requests
from accord.transport.coordinator import Coordinator
from accord.transport.keys import valid
from accord.transport.membership import Member
from accord.transport.messages import PROTOCOL
from accord.transport.service_limits import BODY_S


def authenticate(coordinator: Coordinator, request: Request) -> Member:
    """Verifies who sends a request, by its headers alone."""
    headers = request.headers
    version = headers.get(requests.VERSION, "")
    if version != str(PROTOCOL):
        raise HTTPException(400, f"you speak protocol {version or 'none'}, this coordinator {PROTOCOL}; update one")
    name = headers.get(requests.MEMBER, "")
    member = coordinator.members.member(name)
    if member is None or member.state != "admitted":
        raise HTTPException(401, f"{name[:70]!r} is no member of this federation, or was revoked")
    # As it was sent: two paths that decode alike are two requests.
    path, query = request.scope["raw_path"], request.scope["query_string"]
    target = (path + b"?" + query if query else path).decode("latin-1")
    content = requests.covered(request.method, target, headers)
    if not valid(member.public_key, headers.get(requests.SIGNATURE, ""), content):
        raise HTTPException(401, f"the request is not signed by the key of {member.name}")
    presented = request.scope.get("peer_name")
    if presented is not None and presented != member.name:
        raise HTTPException(401, f"the connection's certificate is of {presented!r}, the request of {member.name!r}")
    now = coordinator.clock()
    try:
        behind = now - float(headers.get(requests.TIME, ""))
    except ValueError as error:
        raise HTTPException(401, "the request has no time") from error
    if not abs(behind) <= requests.SKEW_S:
        way = "behind" if behind > 0 else "ahead"
        raise HTTPException(401, f"your clock is {abs(behind):,.0f} s {way} of the coordinator's; set it (NTP)")
    return member


def use_nonce(coordinator: Coordinator, request: Request, member: str) -> None:
    """Lets a request through once. Asked last, so that only signed requests within their rate take up room."""
    nonce = request.headers.get(requests.NONCE, "")
    if not 16 <= len(nonce) <= 64:
        raise HTTPException(401, "the request has no nonce of 16 to 64 characters")
    if not coordinator.tables.fresh(member, nonce, coordinator.clock(), 2 * requests.SKEW_S + 1):
        raise HTTPException(401, "this request was sent before; sign each one anew")


async def read_body(request: Request, most: int) -> bytes:
    """Reads a body of bounded size in bounded time."""
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                found += chunk
                if len(found) > most:
                    raise HTTPException(413, f"a body of more than {most:,} bytes; send it in pieces")
    except TimeoutError as error:
        raise HTTPException(408, f"the body did not arrive within {BODY_S:g} s") from error
    return bytes(found)
