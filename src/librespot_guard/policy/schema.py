"""The shape of a policy file (design section 6)."""

from typing import Any

from librespot_guard.policy import values
from librespot_guard.policy.decode import Decoder, Keys, either, many, one_of, table, text, whole
from librespot_guard.policy.document import Path
from librespot_guard.policy.faults import describe
from librespot_guard.policy.model import FLAVOURS, SURFACES, USES

VERSION = 1
TAKEOVERS = ("always", "when-idle", "never")
DOORS = ("gateway", "doorman")
EGRESS = ("spotify", "any", "none")

# keys that people look for where they are not
_BELONGS = {
    **dict.fromkeys(("flavour", "unit", "container", "port"), "it belongs in `match`"),
    **dict.fromkeys(("accounts", "takeover", "through", "from"), "it belongs to a surface under `allow`"),
    **dict.fromkeys(("hosts", "networks", "interface", "expires", "why"), "it belongs in a source"),
    **dict.fromkeys(SURFACES, "it belongs in `allow`"),
}
_FROM = "a list of sources (write [home]; [] is nobody)"

_SENTENCE = text(values.sentence)
_WORD = text(values.word)
_LABEL = text(values.label)
_SURFACE = one_of(SURFACES, "a surface")


def _version(decoder: Decoder, path: Path, value: Any) -> Any:
    if type(value) is not int or value != VERSION:
        return decoder.fault(path, f"this version reads `policy: {VERSION}`, found {describe(value)}")
    return VERSION


SOURCE = Keys(
    {
        "hosts": many(text(values.host), "a list of addresses (write [192.168.10.9])"),
        "networks": many(text(values.network), "a list of networks (write [192.168.10.0/24])"),
        "interface": text(values.interface),
        "why": _SENTENCE,
        "expires": text(values.day),
        "owner": _SENTENCE,
    },
    {"why": "`why` is missing (say in a few words why these may come in)"},
    {**_BELONGS, "names": "DNS names are for a later version: write the addresses under `hosts`"},
)
MATCH = Keys(
    {
        "flavour": one_of(FLAVOURS, "a member of the librespot family"),
        "unit": text(values.unit),
        "name": _WORD,
        "container": _WORD,
        "port": whole(1, 65535, "a port from 1 to 65535"),
    },
    {},
    _BELONGS,
)
ALLOW = Keys(
    {
        "from": many(_LABEL, _FROM, empty=True),
        "accounts": many(_WORD, "a list of accounts (write [alice])"),
        "takeover": one_of(TAKEOVERS, "a way to treat a takeover"),
        "through": one_of(DOORS, "a front door"),
    },
    {"from": "`from` is missing (the list of sources; [] is nobody)"},
    _BELONGS,
)
SERVICE = Keys(
    {
        "match": MATCH,
        "allow": table(_SURFACE, either(many(_LABEL, _FROM, empty=True), ALLOW, _FROM)),
        "bind": table(_SURFACE, _WORD),
        "egress": one_of(EGRESS, "a way out"),
        "limits": table(_SURFACE, text(values.rate)),
        "use": one_of(USES, "a use"),
    },
    {"match": "`match` is missing (it says which service this entry speaks of, such as `match: {flavour: librespot}`)"},
    _BELONGS,
)
POLICY = Keys(
    {
        "policy": _version,
        "title": _SENTENCE,
        "owner": _SENTENCE,
        "review": text(values.review),
        "sources": table(_LABEL, SOURCE),
        "services": table(_LABEL, SERVICE),
    },
    {
        "policy": "`policy: 1` is missing (it says which version of this format the file is in)",
        "services": "`services` is missing (it says what is guarded; `librespot-guard init` writes one)",
    },
    _BELONGS,
)
