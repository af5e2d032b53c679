"""Hosts that publish many ports: what destination NAT leads elsewhere costs no question its exactness, what it leads here is found."""

from librespot_guard.firewall import read_listings
from librespot_guard.reach.engine import Answer, Engine
from librespot_guard.reach.routing import number
from librespot_guard.reach.world import World
from librespot_guard.snapshot import FilterText
from reach.hosts import namespace

PUBLISHED = 600


def world(*nat: str) -> World:
    """A host like Docker's with many published ports, which lets the LAN reach tcp/3678, and these rules of nat in front."""
    lines = [
        "*nat", ":PREROUTING ACCEPT [0:0]", ":DOCKER - [0:0]", *(f"-A PREROUTING {rule}" for rule in nat),
        "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        *(
            f"-A DOCKER ! -i docker0 -p tcp -m tcp --dport {20000 + 2 * n} -j DNAT --to-destination 172.17.0.{n % 250 + 2}:{80 + n % 3}"
            for n in range(PUBLISHED)
        ),
        "COMMIT", "*filter", ":INPUT DROP [0:0]", "-A INPUT -s 192.168.10.0/24 -p tcp -m tcp --dport 3678 -j ACCEPT", "COMMIT", "",
    ]  # fmt: skip
    return World(
        namespace(), read_listings([FilterText("iptables-save", "x", "\n".join(lines))], interfaces={"eth0": 2})
    )


def ask(on: World, port: int = 3678) -> Answer:
    """Who reaches a port of the host."""
    return Engine(on, "eth0", "ipv4", "tcp").ask(number("192.168.10.2"), port)


def test_ports_that_lead_elsewhere() -> None:
    """Hundreds of published ports leave the answer about another port exact; a published one leads away."""
    answer = ask(world())
    assert answer.exact, answer.because
    assert number("192.168.10.9") in answer.must
    assert list(answer.sure) == [(number("192.168.10.2"), 3678)]
    assert not ask(world(), 20000).may


def test_a_port_among_them_that_leads_here() -> None:
    """A redirected port is an entry of its own, with its own sources; one that Docker takes first is none."""
    answer = ask(world("-p tcp -m tcp --dport 8000 -j REDIRECT --to-ports 3678", "-s 192.168.10.64/26 -p tcp --dport 3678 -j DNAT --to-destination 172.17.0.9"))  # fmt: skip
    assert answer.exact, answer.because
    assert {port for _, port in answer.sure} == {8000, 3678}
    here = (number("192.168.10.2"), 3678)
    assert number("192.168.10.65") not in answer.sure[here]
    assert number("192.168.10.9") in answer.sure[here]
    assert number("192.168.10.65") in answer.sure[number("192.168.10.2"), 8000]


def test_questions_in_turn() -> None:
    """One engine answers about a redirected, a published and a plain port in any order as fresh ones do."""
    on = world("-p tcp -m tcp --dport 8000 -j REDIRECT --to-ports 3678")
    engine, host = Engine(on, "eth0", "ipv4", "tcp"), number("192.168.10.2")
    for port in (3678, 20000, 22, 3678, 22, 8000):
        fresh = ask(on, port)
        again = engine.ask(host, port)
        assert (again.may, again.must, again.sure) == (fresh.may, fresh.must, fresh.sure), port
