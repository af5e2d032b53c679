"""`snapshot`: write all facts about this host to a file; `snapshot import`: make one of what other tools printed."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from librespot_guard import __version__, firewall
from librespot_guard.cli import common
from librespot_guard.errors import InputError
from librespot_guard.snapshot import FilterText, Snapshot, dumps, imported, loads
from librespot_guard.snapshot.routes_json import read_routes_json

EPILOG = """\b
Examples:
  sudo librespot-guard snapshot -o host.json           everything about this host, for one's own eyes (mode 0600)
  librespot-guard reach --snapshot host.json           on any machine, at any time
  ssh pi sudo librespot-guard snapshot > pi.json       the facts of another host
  librespot-guard snapshot --no-ask | less             without asking the services anything
  librespot-guard snapshot import --help               … of a host where librespot-guard does not run
"""
IMPORT_EPILOG = """\b
Examples:
  nft -j list ruleset | librespot-guard snapshot import -o s.json --nft-json - --address eth0=192.168.10.2/24
  librespot-guard snapshot import -o s.json --iptables-save rules.v4 --routes routes.json
  librespot-guard reach --snapshot s.json --to tcp/3678

\b
On the other host: `nft -j list ruleset`, `iptables-save`, `ip6tables-save`, `ipset save`, `ip -j route show table all`.
These listings leave things out that the kernel knows. What is known to be left out makes an answer a bound, and is named.
"""
_output = click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE, readable by its owner only, instead of standard output.",
)


def _listing(name: str, of: str) -> Callable[[common.F], common.F]:
    return click.option(
        f"--{name}", name.replace("-", "_"), type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
        help=f"What `{of}` printed (`-`: standard input).",
    )  # fmt: skip


@click.group(epilog=EPILOG, invoke_without_command=True, subcommand_metavar="[import …]")
@_output
@click.option("--no-ask", is_flag=True, help="Do not ask the services who they are (one getInfo each, over loopback).")
@click.option("--probe", is_flag=True, help="Call HTTP interfaces by a name that is not theirs (see `audit --probe`).")
@click.pass_context
def snapshot(context: click.Context, file: Path | None, *, no_ask: bool, probe: bool) -> None:
    """Write all facts about this host as one JSON document.

    Services and their listeners, interfaces, addresses, routes, sysctls, and the packet filter as the kernel holds it.
    Secrets of command lines and environments are not in it. Every command that reads works on it with `--snapshot FILE`.
    """
    if context.invoked_subcommand is not None:
        if file is not None or no_ask or probe:
            raise click.UsageError("options of `snapshot import` stand behind `import`", context)
        return
    from librespot_guard import collect  # noqa: PLC0415 - `import` and `--help` must not pay for it

    facts = collect.snapshot(ask=not no_ask, probe=probe, progress=_progress if sys.stderr.isatty() else None)
    common.note_gaps(facts.incomplete)
    count = len(facts.services)
    _write(facts, file, f"{count} service{'' if count == 1 else 's'}, {len(facts.namespaces)} network namespace(s)")


@snapshot.command("import", epilog=IMPORT_EPILOG)
@_output
@_listing("nft-json", "nft -j list ruleset")
@_listing("iptables-save", "iptables-save")
@_listing("ip6tables-save", "ip6tables-save")
@_listing("iptables-legacy-save", "iptables-legacy-save")
@_listing("ip6tables-legacy-save", "ip6tables-legacy-save")
@_listing("ipset-save", "ipset save")
@_listing("routes", "ip -j route show table all")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="DEV=ADDRESS/LENGTH",
    help="An address of an interface; repeatable.",
)
@click.option("--sysctl", "sysctls", multiple=True, metavar="NAME=NUMBER", help="A sysctl; repeatable.")
def import_(
    file: Path | None,
    addresses: tuple[str, ...],
    sysctls: tuple[str, ...],
    routes: Path | None,
    **listings: Path | None,
) -> None:
    """Build a snapshot from what other tools print, for a host where librespot-guard can't run.

    Give any of the listings. The texts are kept as they are, and read when a question is asked.
    """
    paths = {name.replace("_", "-"): path for name, path in listings.items() if path is not None}
    if sum(str(p) == "-" for p in (*paths.values(), routes)) > 1:
        raise InputError("standard input (`-`) can be read once only", hint="write the other listings to files")
    if not paths and routes is None and not addresses:
        raise InputError(
            "nothing to import", hint="give a listing such as --nft-json FILE, and --address eth0=192.168.10.2/24"
        )
    texts = tuple(FilterText(kind, _named(path), common.read_text(path)) for kind, path in paths.items())
    parts = imported.Parts(
        texts,
        None if routes is None else read_routes_json(common.read_text(routes), source=_named(routes)),
        tuple(dict.fromkeys(imported.parse_address(a) for a in addresses)),
        dict(imported.parse_sysctl(s) for s in sysctls),
    )
    facts = imported.assemble(
        parts, taken=datetime.now(UTC).isoformat(timespec="seconds"), tool=f"librespot-guard {__version__}"
    )
    # what is malformed is said now, with its line or place, and not when somebody asks a question
    loads(dumps(facts), source="what was given")
    ruleset = firewall.read_listings(texts, interfaces={link.name: link.index for link in facts.home.links})
    common.note_gaps(facts.incomplete)
    for doubt in ruleset.incomplete:
        common.note(f"{click.style('not exact', fg='yellow', bold=True)}: {doubt}")
    if len(facts.home.links) == 1:
        common.note(
            "note: no interface is known, so nothing can be asked; give --address eth0=192.168.10.2/24 or --routes FILE"
        )
    rules = sum(len(c.rules) for t in ruleset.tables for c in t.chains)
    _write(facts, file, f"{rules} rule(s) in {len(ruleset.tables)} table(s), {len(facts.home.links)} interface(s)")


def _named(path: Path) -> str:
    return "standard input" if str(path) == "-" else str(path)


def _write(facts: Snapshot, file: Path | None, what: str) -> None:
    text = dumps(facts)
    if file is None or str(file) == "-":
        click.echo(text, nl=False)
        return
    common.write_text(file, text)
    common.note(f"wrote {file}: {what}")


def _progress(text: str) -> None:
    common.note(click.style(f"reading: {text}", dim=True))
