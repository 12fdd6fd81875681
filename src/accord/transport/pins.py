"""The sites' keys that a requester trusts: `sites.json` in its folder.

The requester has the keys from the coordinator, which could hand out its own and answer in a site's place. So a key is
trusted on first use, with its fingerprint shown and kept, or because its fingerprint was given. Afterwards another key
of the same site is refused, unless the one before signed for it.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accord.core.errors import FederationError
from accord.transport.enrolment import check_name, succeeds
from accord.transport.exchange import SiteState
from accord.transport.identity import write_durably
from accord.transport.keys import fingerprint

PINS = "sites.json"
"""The file's name."""
_DIGITS = 32
_LOG = logging.getLogger("accord.federation")


def check_pins(path: Path, sites: Sequence[SiteState]) -> None:
    """Compares the sites' keys with those that are trusted, and trusts those of sites that are new.

    Args:
        path: the file, which is made where it is missing.
        sites: as the coordinator tells them.

    Raises:
        FederationError: a site has another key, which the one before did not sign for.
    """
    pins = _read(path)
    trusted = dict(pins)
    for site in sites:
        check_name(site.name)
        shown = fingerprint(site.public_key)
        pin = pins.get(site.name)
        if pin is None:
            _LOG.warning("%s: trusted on first use; compare its key's fingerprint with its owner: %s", site.name, shown)
            trusted[site.name] = _pin(shown, site.public_key, "first use")
        elif pin["fingerprint"] != shown:
            if not _led_to(str(pin["key"]), site):
                raise FederationError(
                    f"{site.name}: its key has changed from {pin['fingerprint']} to {shown}, and the old key did not "
                    f"sign for it; ask its owner, then: accord federation trust {site.name} --fingerprint {shown}"
                )
            trusted[site.name] = _pin(shown, site.public_key, "the key before")
        elif not pin["key"]:
            trusted[site.name] = {**pin, "key": site.public_key}
    if trusted != pins:
        _write(path, trusted)


def trust(path: Path, name: str, shown: str) -> str:
    """Trusts the key of a site by its fingerprint, as its owner told it. Returns it as it is kept.

    Args:
        path: the file, which is made where it is missing.
        name: the site.
        shown: 32 hexadecimal digits, with hyphens or spaces anywhere.

    Raises:
        FederationError: the name or the fingerprint is none.
    """
    check_name(name)
    digits = "".join(shown.lower().split()).replace("-", "")
    if len(digits) != _DIGITS or set(digits) - set("0123456789abcdef"):
        raise FederationError(f"--fingerprint {shown!r}: give 32 hexadecimal digits, as accord site status shows them")
    kept = "-".join(digits[i : i + 4] for i in range(0, _DIGITS, 4))
    _write(path, {**_read(path), name: _pin(kept, "", "fingerprint")})
    return kept


def _led_to(before: str, site: SiteState) -> bool:
    """Whether a trusted key signed for another one, and so on, up to the one that the site has now."""
    for link in site.succession:
        if link.before == before and succeeds(site.name, link):
            before = link.key
    return before == site.public_key


def _pin(shown: str, key: str, by: str) -> dict[str, str]:
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"fingerprint": shown, "key": key, "by": by, "since": at}


def _read(path: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        pins = json.loads(path.read_bytes())
        if not all(isinstance(pin["fingerprint"], str) and isinstance(pin["key"], str) for pin in pins.values()):
            raise TypeError("not texts")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise FederationError(
            f"{path}: the trusted keys cannot be read; restore the file, or trust each site anew"
        ) from error
    found: Mapping[str, Mapping[str, Any]] = pins
    return found


def _write(path: Path, pins: Mapping[str, Mapping[str, Any]]) -> None:
    write_durably(path, json.dumps(pins, indent=1, sort_keys=True).encode() + b"\n", 0o600)
