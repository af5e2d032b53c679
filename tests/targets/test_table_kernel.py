"""Our table means the same to nft, to the kernel, and to the model: text, bytecode and reading back agree."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from librespot_guard import collect, firewall
from librespot_guard.apply import gate, nft
from librespot_guard.apply.loaded import Shape, missing
from librespot_guard.firewall.model import Table
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.targets import nft_model, nft_text
from librespot_guard.targets.compare import canonical
from librespot_guard.targets.nft_read import find, read
from librespot_guard.targets.nftables import build
from librespot_guard.targets.syntax import GuardTable
from targets.policies import TODAY, Case, cases
from targets.tables import tables

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A network namespace of our own."""
    with Sandbox() as box:
        yield box.host("guarded")


def loaded(host: Host, table: GuardTable) -> Table:
    """The table as the kernel gives it back after its text was loaded."""

    def inside() -> Table | None:
        nft.load(gate.timed(nft_text.replacement(table), 600))
        return find(firewall.decode(collect.read_nft(texts=False), byteorder=sys.byteorder))

    found = host.call(inside)
    assert found is not None
    return found


@given(table=tables())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_the_kernel_gives_back_exactly_the_model(host: Host, table: GuardTable) -> None:
    """Whatever the table, what the kernel runs after loading its text is the bytecode that the model says, and reads back as the table."""
    found = loaded(host, table)

    assert canonical(found) == canonical(nft_model.table(table))
    assert read(found) == table


@given(table=tables())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_what_was_loaded_is_counted_alike_in_the_listing(host: Host, table: GuardTable) -> None:
    """Whatever the table, `status` finds in nft's listing what stands in the text that was loaded: no alarm without a reason."""
    text = nft_text.replacement(table)

    def inside() -> str:
        nft.load(gate.timed(text, 600))
        return gate.kernel().listing

    wanted, found = Shape(text), Shape(host.call(inside))

    assert missing(wanted, found) == ""
    assert found.ports == wanted.ports


@given(case=cases())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_the_kernel_takes_every_policy(host: Host, case: Case) -> None:
    """The table of a random policy loads, and what the kernel then runs is what was planned."""
    table = build(case.policy, case.assignments, case.namespace, today=TODAY)

    assert canonical(loaded(host, table)) == canonical(nft_model.table(table))


@given(table=tables())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_confirming_leaves_the_gated_policy_alone(host: Host, table: GuardTable) -> None:
    """The confirming transaction turns the policy behind the gate into the one in force, and nothing of the old one stays."""
    if table.gated is None:
        return
    loaded(host, table)

    def confirm() -> Table | None:
        nft.load(nft_text.confirmation(table))
        return find(firewall.decode(collect.read_nft(texts=False), byteorder=sys.byteorder))

    found = host.call(confirm)

    assert found is not None
    assert read(found) == GuardTable(table.gated)
