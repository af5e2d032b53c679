"""The zones of firewalld (bypass 7 of docs/bypasses.md): a real firewalld writes the rules, and real packets judge the answers.

Each pair is one intention, written so that it does not hold, and so that it does.
"""

from collections.abc import Iterator

import pytest

from librespot_guard.firewall.origin import origin
from librespot_guard.reach.interpreter import trace
from reach.places import NEIGHBOUR, STRANGER, Place, agree, place
from reach.real_firewalls import FIREWALLD, MOUNTS, missing

pytestmark = pytest.mark.kernel

ZONE = "firewall-cmd --zone={} --change-interface=eth0"
RICH = "firewall-cmd --zone=public --add-rich-rule='rule {} family=ipv4 source address={} {}'"
SOURCE = "firewall-cmd --zone={} --add-source={}"
TARGET = "firewall-cmd --permanent --zone={0} --set-target={1}; firewall-cmd --reload"
NEW_ZONE = "firewall-cmd --permanent --new-zone={0}; " + TARGET

# name, commands, who sends, whether it gets through, what of firewalld decides
ROWS = (
    ("a rich deny wins over an allow that was given before it", (ZONE.format("public"), RICH.format("", "192.168.10.0/24", "accept"), RICH.format("", NEIGHBOUR, "drop")), NEIGHBOUR, False, "zone public (deny)"),
    ("an allow of a priority goes before the deny", (ZONE.format("public"), RICH.format("priority=-10", "192.168.10.0/24", "accept"), RICH.format("", NEIGHBOUR, "drop")), NEIGHBOUR, True, "zone public (pre)"),
    ("an interface in zone drop keeps a stranger out", (ZONE.format("drop"),), STRANGER, False, "zone drop (its target)"),
    ("a source in zone trusted goes before the zone of the interface", (ZONE.format("drop"), SOURCE.format("trusted", "203.0.113.0/24")), STRANGER, True, "zone trusted (its target)"),
    ("of overlapping sources the zone whose name is first decides: closed", (ZONE.format("public"), SOURCE.format("block", NEIGHBOUR), SOURCE.format("trusted", "192.168.10.0/24")), NEIGHBOUR, False, "zone block (its target)"),
    ("of overlapping sources the zone whose name is first decides: open", (NEW_ZONE.format("attic", "ACCEPT"), ZONE.format("public"), SOURCE.format("block", NEIGHBOUR), SOURCE.format("attic", "192.168.10.0/24")), NEIGHBOUR, True, "zone attic (its target)"),
    ("the default target rejects what the zone does not name", (TARGET.format("home", "default"), ZONE.format("home")), STRANGER, False, "zone home (its target)"),
    ("target ACCEPT lets everything in, whatever the zone names", (TARGET.format("home", "ACCEPT"), ZONE.format("home")), STRANGER, True, "zone home (its target)"),
)  # fmt: skip


@pytest.fixture(scope="module")
def stage() -> Iterator[Place]:
    """One stage for all rows."""
    if why := missing("firewalld"):
        pytest.skip(f"zones of firewalld: {why}")
    with place() as made:
        yield made


def configure(stage: Place, commands: tuple[str, ...]) -> None:
    """Leave the rules in the kernel that firewalld writes for these commands, with an /etc of its own, and no firewalld."""
    stage.load("")
    script = (
        f"{MOUNTS}sed -i 's/^CleanupOnExit=.*/CleanupOnExit=no/' /etc/firewalld/firewalld.conf\n{FIREWALLD}"
        f"({'; '.join(commands)}) >/dev/null\nkill $!; wait $! || true; kill $(cat /run/dbus.pid)\n"
    )
    done = stage.host.run(["unshare", "--mount", "sh", "-c", script], timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "commands", "source", "through", "decided_by"), ROWS, ids=[r[0] for r in ROWS])
def test_zones_decide_as_the_kernel_says(
    stage: Place, name: str, commands: tuple[str, ...], source: str, through: bool, decided_by: str
) -> None:
    """Engine, interpreter and kernel agree, and the trail ends in the zone that decides, which is named as firewalld names it."""
    configure(stage, commands)
    packet = stage.packet(src=source)

    assert agree(stage, packet) == through, name
    worlds = stage.worlds()
    trail = trace(worlds[next(iter(worlds))], packet).trail
    last = trail[-1]

    assert origin("inet", "firewalld", last.chain, text=last.rule).place == f"firewalld's {decided_by}"
