"""What the catalogue says of the family: sourced, by version, and the traps by name."""

from pathlib import Path

import pytest

from librespot_guard import catalog
from librespot_guard.errors import InputError
from librespot_guard.policy.model import FLAVOURS, USES
from librespot_guard.report import family_page
from support import ROOT

KNOWN = catalog.load()
NAMES = {
    "librespot", "raspotify", "spotifyd", "go-librespot", "librespot-java", "librespot-python", "snapserver", "owntone", "soloist"
}  # fmt: skip


def test_the_whole_family_is_there() -> None:
    """Every member of the design, and the two around it."""
    assert {f.name for f in KNOWN.flavours} == NAMES


@pytest.mark.parametrize("flavour", KNOWN.flavours, ids=lambda f: f.name)
def test_no_fact_without_a_source_and_no_source_without_a_fact(flavour: catalog.Flavour) -> None:
    """Each fact cites where it was read; each place that a file declares is cited, by the flavour itself or one that is based on it."""
    facts = list(catalog.facts(flavour))
    declared = {s.name for s in flavour.sources}
    own = declared if flavour.based_on is None else declared - {s.name for s in KNOWN.flavour(flavour.based_on).sources}
    used = {name for _, fact in facts for name in catalog.cited(fact.source)}

    assert used <= declared
    assert own <= used
    for source in flavour.sources:
        assert source.project
        assert source.version
        assert source.about


@pytest.mark.parametrize("flavour", KNOWN.flavours, ids=lambda f: f.name)
def test_every_surface_can_be_taken_away_or_says_why_not(flavour: catalog.Flavour) -> None:
    """For the newest version, a removal names each surface; its setting exists in every version of its range that has the surface."""
    for surface in flavour.surfaces_of(None):
        assert [r for r in flavour.removals if surface.name in r.surfaces and catalog.holds(None, r.since, r.until)]


@pytest.mark.parametrize("flavour", KNOWN.flavours, ids=lambda f: f.name)
def test_control_interfaces_have_endpoints_with_roles(flavour: catalog.Flavour) -> None:
    """What answers requests says which, and tokens, names and ends of service need an admin or are denied."""
    answering = {s.name for s in flavour.surfaces if s.name in ("connect", "api")}
    assert answering <= {e.surface for e in flavour.endpoints}
    for endpoint in flavour.endpoints:
        if any(word in endpoint.path for word in ("token", "terminate", "addUser", "web-api", "set_device_name")):
            assert endpoint.role in ("admin", "deny")
        if endpoint.changes:
            assert endpoint.role != "viewer"


def test_binds_and_settings_follow_the_version() -> None:
    """The same question has another answer for an old version; an unknown one is taken for the newest."""
    librespot, go, snap = (KNOWN.flavour(n) for n in ("librespot", "go-librespot", "snapserver"))

    def bind(flavour: catalog.Flavour, surface: str, version: str | None) -> str:
        found = flavour.surface(surface, version)
        assert found is not None
        return found.bind

    keys = [setting.key for v in ("0.26.0", "0.33.0") if (setting := snap.setting("control-bind", v))]

    assert [bind(librespot, "connect", v) for v in ("0.4.2", "0.5.0", "v0.8.0-dev", None)] == [
        "0.0.0.0",
        "::",
        "::",
        "::",
    ]
    assert [bind(go, "api", v) for v in ("0.0.7", "0.0.15", "0.1.0")] == ["::", "::", "127.0.0.1"]
    assert go.setting("zeroconf-port", "0.1.2") is None
    assert keys == ["tcp.bind_to_address", "tcp-control.bind_to_address"]
    assert librespot.surface("login", "0.4.2") is None


def test_the_traps_are_said() -> None:
    """Flag variables that are on whatever they say, options that bind nothing, and wrong documentation."""
    librespot = KNOWN.flavour("librespot")

    assert librespot.arguments.flag_values is False
    assert librespot.arguments.precedence == ("argv", "environment")
    interface = librespot.setting("zeroconf-interface")
    assert interface is not None
    assert "binds nothing" in interface.trap
    assert interface.wrong_docs
    assert all(s.trap for s in librespot.settings if s.kind == "flag" and s.name != "verbose")


def test_what_is_not_confirmed_says_so() -> None:
    """Flavours that were not run are marked."""
    for name in ("owntone", "soloist"):
        assert KNOWN.flavour(name).unconfirmed


def test_a_flavour_in_a_folder_is_loaded(tmp_path: Path) -> None:
    """One file in a folder adds a member, with everything that it takes from the one it is based on."""
    (tmp_path / "new.toml").write_text(
        'flavour = "newspot"\ntitle = "Newspot"\nbased_on = "librespot"\nexecutables = ["newspot"]\n'
        'units = ["newspot.service"]\nsource = "new README"\n'
        '[[origin]]\nname = "new"\nproject = "x/newspot"\nversion = "1"\nabout = "read"\n'
    )
    known = catalog.read_folders([tmp_path])

    found = known.by_executable("newspot")
    assert found is not None
    assert found.settings == KNOWN.flavour("librespot").settings
    assert len(known.flavours) == len(KNOWN.flavours) + 1
    (tmp_path / "new.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"new\.toml"):
        catalog.read_folders([tmp_path])


def test_the_documents_are_those_of_the_catalogue() -> None:
    """docs/family.md and the README's table hold what the data files say, every flavour and every surface of it."""
    page = (ROOT / "docs/family.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert page == family_page.page(KNOWN)
    assert family_page.with_table(readme, KNOWN) == readme
    rows = [line for line in readme.split(family_page.BEGIN)[1].splitlines() if line.startswith("| ")]
    for flavour in KNOWN.flavours:
        row = next(r for r in rows if r.startswith(f"| {flavour.title} |"))
        assert all(s.name in row for s in flavour.surfaces_of(None) if s.name != "login")


def test_the_policy_and_the_catalogue_speak_of_the_same() -> None:
    """The words of a policy are those of the catalogue (it repeats them, so that `check` need not load it)."""
    assert catalog.USES == USES
    assert set(FLAVOURS) == {f.name for f in KNOWN.flavours}
