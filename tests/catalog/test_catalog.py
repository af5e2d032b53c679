"""The catalogue: what ships is whole and sourced, and a data file that is wrong is refused with its place."""

from ipaddress import ip_address

import pytest

from librespot_guard import catalog
from librespot_guard.errors import InputError

MINIMAL = """
flavour = "x"
title = "X"
executables = ["x"]
units = []
source = "s"
[getinfo]
brand = "b"
model = "m"
version = true
source = "s"
[port]
pin = "set it"
source = "s"
[arguments]
flags = ""
source = "s"
[secrets]
arguments = []
environment = []
source = "s"
[[surface]]
name = "connect"
proto = "tcp"
bind = "::"
stranger = ["read it"]
narrow = "no"
off = "stop it"
source = "s"
[[origin]]
name = "s"
project = "x"
version = "1"
about = "read"
"""
BASED = 'flavour = "y"\ntitle = "Y"\nbased_on = "x"\nexecutables = ["y"]\nunits = ["y.service"]\nsource = "s"\n'


def test_every_flavour_that_ships_is_whole() -> None:
    """Each has a program or a package, a way to pin its port, and for each surface what a stranger can do, how to end it, and a source."""
    known = catalog.load()

    assert {"librespot", "raspotify", "librespot-python"} <= {f.name for f in known.flavours}
    for flavour in known.flavours:
        assert flavour.executables or flavour.python_package or flavour.jars
        if flavour.receiver and flavour.name != "soloist":
            assert any(c.isdigit() for c in flavour.pin)
            assert flavour.surface("connect") is not None
        for surface in flavour.surfaces:
            assert surface.source
            assert surface.stranger
            assert surface.off
            assert surface.narrow
            ip_address(surface.bind)


def test_secrets_are_options_that_exist() -> None:
    """The secret options of librespot are those of its help, and none of its flags."""
    librespot = catalog.load().flavour("librespot")

    assert {"access-token", "k"} <= set(librespot.secrets.arguments)
    assert not set(librespot.secrets.arguments) & set(librespot.arguments.flags)
    assert "LIBRESPOT_ACCESS_TOKEN" in librespot.secrets.environment


def test_finding_a_flavour() -> None:
    """By name, program, unit and answer; of several the one that the others are built around."""
    known = catalog.load()

    assert known.flavour("raspotify").based_on == "librespot"
    assert known.by_executable("librespot") is known.flavour("librespot")
    assert known.by_executable("other") is None
    assert known.by_unit("raspotify.service") is known.flavour("raspotify")
    assert known.by_getinfo("librespot", "librespot") is known.flavour("librespot")
    assert known.by_getinfo("kokarare1212", "librespot-python") is known.flavour("librespot-python")
    assert known.by_getinfo("", "") is None
    with pytest.raises(KeyError):
        known.flavour("other")


def test_a_new_flavour_is_a_new_file() -> None:
    """One file is enough, and one that is based on another takes what it does not say itself."""
    known = catalog.read({"x.toml": MINIMAL, "y.toml": BASED})
    base, other = known.flavour("x"), known.flavour("y")

    assert (other.port, other.surfaces, other.getinfo) == (base.port, base.surfaces, base.getinfo)
    assert (other.executables, other.units) == (("y",), ("y.service",))


def test_a_surface_of_its_own_replaces_that_of_the_base() -> None:
    """A surface of the same name is replaced whole, another is added."""
    own = '[[surface]]\nname = "{}"\nproto = "udp"\nbind = "::"\nstranger = []\nnarrow = "n"\noff = "o"\nsource = "s"\nport = 5353\n'
    known = catalog.read({"x.toml": MINIMAL, "y.toml": BASED + own.format("connect") + own.format("discovery")})

    assert [(s.name, s.proto) for s in known.flavour("y").surfaces] == [("connect", "udp"), ("discovery", "udp")]


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ('title = "X"', "", "title: this key is missing"),
        ('title = "X"', "title = 7", "title: expected text, found 7"),
        ('title = "X"', 'titel = "X"\ntitle = "X"', "titel: unknown key"),
        ('executables = ["x"]', "executables = [1]", "executables: expected a list of text"),
        ('executables = ["x"]', "executables = []", "executables: give a program"),
        ("version = true", "version = 1", "getinfo.version: expected true or false"),
        ('bind = "::"', 'bind = "::"\nport = "1"', "surface[0].port: expected a whole number"),
        ('bind = "::"', 'bind = "::"\nport = 0', "surface[0].port: 0 is no port"),
        ('name = "connect"', 'name = "door"', "surface[0].name: `door` is none of"),
        ('proto = "tcp"', 'proto = "sctp"', "surface[0].proto: `sctp` is none of"),
        ("[port]\npin", "[[port]]\npin", "port: expected a table"),
        ("[port]", "[part]", "part: unknown key"),
        ('source = "s"\n[getinfo]', 'source = "t"\n[getinfo]', "flavour.source: there is no source `t`"),
        ('source = "s"\n[getinfo]', 'source = ""\n[getinfo]', "flavour.source: a fact without a source"),
        ('bind = "::"', 'bind = "all"', "surface[0].bind: `all` is no address"),
        ('bind = "::"', 'bind = "::"\nsince = "x"', "surface[0].since: `x` is no version"),
        ('bind = "::"', 'bind = "::"\nsince = "2"\nuntil = "1"', "surface[0]: the versions from 2 to 1 are none"),
        ("[[surface]]", "[surface]", "surface: expected `[[surface]]`"),
        ("title", "title title", "not TOML"),
        ('[secrets]\narguments = []\nenvironment = []\nsource = "s"\n', "", "secrets: this table is missing"),
        ('flavour = "x"', 'flavour = "x"\nbased_on = "z"', "based_on: there is no flavour `z`"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_place(before: str, after: str, says: str) -> None:
    """The file, the key and what was expected are named."""
    assert before in MINIMAL
    with pytest.raises(InputError) as caught:
        catalog.read({"x.toml": MINIMAL.replace(before, after, 1)})

    assert str(caught.value).startswith("x.toml: ")
    assert says in str(caught.value)


def test_two_of_one_name_and_a_chain_of_bases() -> None:
    """A flavour may be there once, and may be based only on one that stands for itself."""
    with pytest.raises(InputError, match=r"z\.toml: the flavour `x` is in x\.toml already"):
        catalog.read({"x.toml": MINIMAL, "z.toml": MINIMAL})
    with pytest.raises(InputError, match="`y` is itself based on another"):
        catalog.read({"x.toml": MINIMAL, "y.toml": BASED, "z.toml": BASED.replace('"y"', '"z"').replace('"x"', '"y"')})
    twice = MINIMAL + MINIMAL[MINIMAL.index("[[surface]]") : MINIMAL.index("[[origin]]")]
    with pytest.raises(InputError, match="`connect` is there twice"):
        catalog.read({"x.toml": twice})
