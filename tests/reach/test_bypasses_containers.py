"""A container with the network of the host (bypass 9 of docs/bypasses.md), beside one with a network of its own, in a real Docker."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from container_stage import missing
from librespot_guard import audit
from librespot_guard.lab import daemons
from librespot_guard.reach import Worlds, answers
from librespot_guard.reach.routing import number
from librespot_guard.snapshot import Snapshot, dumps, loads
from reach.places import NEIGHBOUR, STRANGER
from support import Guard, Schema

pytestmark = [pytest.mark.kernel, pytest.mark.family]

ENGINE = Path(__file__).parents[1] / "container_stage.sh"
# beside `kitchen` of the stage, whose port 37001 is published as 8080: `attic` with the network of the host, whose input chain lets in one network
INSIDE = f"""set -eu
ip -n phone address add {NEIGHBOUR}/24 dev eth0
ip -n phone address add {STRANGER}/32 dev eth0
ip route add {STRANGER}/32 dev eth0
export DOCKER_HOST=unix:///run/docker.sock
docker run -d --name attic --network host guard-box:1 /usr/bin/music -n Attic -B pipe -d /dev/null -z 37002 --disable-audio-cache >/dev/null
nft -f - <<'X'
table inet home {{ chain input {{ type filter hook input priority 0; policy drop
ct state established accept
iifname "lo" accept
ip saddr 192.168.10.0/24 accept
}}
}}
X
for i in $(seq 50); do ss -Hltn 'sport = :37002' | grep -q . && break; sleep 0.1; done
"$1" -m librespot_guard snapshot -o "$2/host.json" >&2
for source in {NEIGHBOUR} {STRANGER}; do for port in 37002 8080; do
  if ip netns exec phone "$1" -c "import socket; socket.create_connection(('192.168.10.2', $port), 2, ('$source', 0))" 2>/dev/null
  then echo "[\\"$source\\", $port, true]"; else echo "[\\"$source\\", $port, false]"; fi
done; done
docker rm -f attic >/dev/null
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Snapshot, dict[tuple[str, int], bool]]:
    """The facts about the host, and which connections of which source were made in it."""
    folder = tmp_path_factory.mktemp("engine")
    if why := missing("docker"):
        pytest.skip(f"containers of docker: {why}")
    daemon = daemons.available("librespot")
    if daemon is None:
        pytest.skip("librespot is not installed; `python -m librespot_guard.lab.daemons obtain librespot` gets it")
    spaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    stage = ["bash", str(ENGINE), "docker", str(folder), str(daemon.files[0])]
    done = subprocess.run(
        [*spaces, *stage, "bash", "-c", INSIDE, "inside", sys.executable, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        env={k: v for k, v in os.environ.items() if k not in ("DOCKER_HOST", "CONTAINER_HOST")}
        | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    tried = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    facts = loads((folder / "host.json").read_text(encoding="utf-8"))
    return facts, {(source, port): made for source, port, made in tried}


@pytest.mark.parametrize(("name", "port", "through"), [("attic", 37002, False), ("kitchen", 8080, True)])
def test_who_reaches_a_container(
    seen: tuple[Snapshot, dict[tuple[str, int], bool]], name: str, port: int, through: bool
) -> None:
    """The input rules of the host hold for a container with its network, and not for a published port; connections say the same."""
    facts, tried = seen
    service = next(s for s in facts.services if s.name == name)
    owned = next(x.listener for x in service.listeners if x.surface == "connect")
    (way,) = [
        r
        for r in answers(Worlds(facts)[service.netns], owned)
        if (r.question.dst, r.question.iface) == ("192.168.10.2", "eth0")
    ]

    assert (way.question.through is not None, way.question.port or owned.port) == (through, port)
    assert (service.netns == facts.home.id) != through
    for source in (NEIGHBOUR, STRANGER):
        assert (number(source) in way.answer.must) == (number(source) in way.answer.may) == tried[source, port]
    assert tried[STRANGER, port] == through


def test_the_audit_names_the_container(seen: tuple[Snapshot, dict[tuple[str, int], bool]]) -> None:
    """LG502 is about the container that shares the network of the host, by its name in the engine, and LG501 about the other."""
    facts, _ = seen
    found = {(f.id, f.service): f for f in audit.run(facts).findings if f.id in ("LG501", "LG502")}

    assert set(found) == {("LG501", "kitchen"), ("LG502", "attic")}
    assert "container attic" in found["LG502", "attic"].evidence[0]


def test_the_answer_names_the_container(
    seen: tuple[Snapshot, dict[tuple[str, int], bool]], guard: Guard, schema: Schema, tmp_path: Path
) -> None:
    """`reach` says in which container a listener is, and whose network that container has."""
    (tmp_path / "host.json").write_text(dumps(seen[0]), encoding="utf-8")
    text = guard("reach", "--snapshot", tmp_path / "host.json").stdout
    answers = json.loads(guard("reach", "--snapshot", tmp_path / "host.json", "--format", "json").stdout)
    schema("reach").validate(answers)

    assert "connect (container attic, the network of the host)" in text
    assert "connect (container kitchen, a network of its own)" in text
    assert {(a["listener"]["service"], a["listener"]["container"]) for a in answers["answers"]} == {
        ("attic", "attic"),
        ("kitchen", "kitchen"),
    }
