"""What code of others would try from inside the sandbox, tried."""

from pathlib import Path

import pytest

from accord.core.errors import FederationError
from accord.sites import sandbox
from accord.sites.escapes import try_escapes

needs_sandbox = pytest.mark.skipif(not sandbox.has_sandbox(), reason="bubblewrap is not installed")
MOST_OF_THEM = 19


@needs_sandbox
def test_every_try_is_stopped() -> None:
    tries = try_escapes()
    assert len(tries) == MOST_OF_THEM
    assert [each for each in tries if not each.contained] == []


@needs_sandbox
def test_a_namespace_of_users_stops_all_but_the_limit_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for an agent that is no root; for root in such a namespace the kernel does not count processes."""
    monkeypatch.setattr(sandbox, "limits_processes", lambda read=(): False)
    assert {each.name for each in try_escapes() if not each.contained} <= {"start processes without end"}


@needs_sandbox
def test_the_tries_get_out_where_nothing_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else they would pass whatever the sandbox does. Those that would change this machine are left out."""
    harmless = {
        "read another file beside the bound rows",
        "connect to the agent's machine",
        "read the agent's environment",
        "read the agent's memory",
        "signal the agent",
    }
    monkeypatch.setattr("accord.sites.escapes.sandboxed", lambda command, read=(): [*command, *sorted(harmless)])
    out = {each.name for each in try_escapes() if not each.contained}
    assert out == harmless


def test_without_bubblewrap_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for call in (try_escapes, lambda: sandbox.sandboxed(["true"])):
        with pytest.raises(FederationError, match="apt-get install bubblewrap"):
            call()


def test_the_folder_of_a_script_is_no_part_of_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    if not sandbox.has_sandbox():
        pytest.skip("bubblewrap is not installed")
    assert str(tmp_path) not in " ".join(sandbox.sandboxed(["true"]))
