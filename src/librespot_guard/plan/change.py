"""The steps of a change: behind the gate, confirmed, at boot, and all the ways back."""

from librespot_guard.targets import nft_text
from librespot_guard.targets.steps import Change, LinkFile, LoadNft, ReloadUnits, Step, WriteFile
from librespot_guard.targets.syntax import GuardTable

RULES = "/etc/librespot-guard/rules.nft"
UNIT = "/etc/systemd/system/librespot-guard.service"
WANTS = "/etc/systemd/system/sysinit.target.wants/librespot-guard.service"

# Before the network is up (systemd.special(7), network-pre.target), and after nftables.service, whose file begins with a flush.
# There is no ExecStop: stopping the unit must not open the host. systemd (>= 239) finds `nft` in its fixed search path.
UNIT_TEXT = f"""\
# Written by librespot-guard. It loads the confirmed rules of librespot services before the network is up.
[Unit]
Description=Rules of librespot-guard
Documentation=man:librespot-guard(1)
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
After=local-fs.target nftables.service
ConditionPathExists={RULES}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=nft -f {RULES}
ExecReload=nft -f {RULES}

[Install]
WantedBy=sysinit.target
"""

# nftables.service flushes everything when it starts, reloads and stops. PartOf= in our unit would follow a stop by a stop, and hears
# nothing of a start (systemd.unit(5)); so its own unit loads our rules again. A "-" in front: their absence is no fault of it.
DROP_IN = "/etc/systemd/system/nftables.service.d/50-librespot-guard.conf"
DROP_IN_TEXT = f"""\
# Written by librespot-guard: whatever flushed the rules, those of librespot services are loaded again.
[Service]
ExecStartPost=-nft -f {RULES}
ExecReload=-nft -f {RULES}
ExecStopPost=-nft -f {RULES}
"""


def rules_file(table: GuardTable) -> str:
    """The boot file of a confirmed policy: one transaction, which replaces whatever is there."""
    head = f"#!/usr/sbin/nft -f\n# Written by librespot-guard: policy {table.id}. Change the policy and apply it; edits here are lost.\n"
    return head + nft_text.replacement(table)


def _boot(table: GuardTable | None) -> tuple[Step, ...]:
    """The boot files for a table; the rules file is the one that decides, so it is written last, and removed first."""
    if table is None or table.confirmed is None:
        why = "no rules at boot"
        return (
            WriteFile(RULES, None, 0o600, why),
            LinkFile(WANTS, None, why),
            WriteFile(DROP_IN, None, 0o644, why),
            WriteFile(UNIT, None, 0o644, why),
            ReloadUnits(why),
        )
    return (
        WriteFile(UNIT, UNIT_TEXT, 0o644, "a unit that loads the rules before the network is up"),
        LinkFile(WANTS, "../librespot-guard.service", "systemd starts the unit at boot"),
        WriteFile(DROP_IN, DROP_IN_TEXT, 0o644, "the rules come back when nftables.service has flushed them"),
        WriteFile(RULES, rules_file(table), 0o600, f"the rules of policy {table.id} at boot"),
        ReloadUnits("systemd knows of the new files"),
    )


def change(
    wanted: GuardTable,
    current: GuardTable | None,
    *,
    settings: tuple[Step, ...] = (),
    back_settings: tuple[Step, ...] = (),
) -> Change:
    """The change from what is confirmed now to what is wanted.

    Args:
        wanted: the new policy, as its `confirmed` part.
        current: the table as it is on the host, None if there is none; what waits behind its gate is not counted.
        settings: changes of programs' settings; like the boot files they are made after the confirmation, so that a change that is
            not confirmed never touches them. They come last: the rules file decides whether a restarted machine goes on with them.
        back_settings: what takes them back.
    """
    old = GuardTable(current.confirmed) if current and current.confirmed else None
    pending = GuardTable(old.confirmed if old else None, wanted.confirmed)
    undo = (LoadNft(nft_text.replacement(old), f"back to policy {old.id}" if old else "back to no rules of ours"),)
    return Change(
        id=wanted.id,
        arm=(LoadNft(nft_text.replacement(pending), "the new rules, behind the gate"),),
        confirm=(LoadNft(nft_text.confirmation(pending), "the new rules, for good"),),
        boot=(*_boot(wanted), *settings),
        undo=undo,
        revert=undo,
        revert_boot=(*_boot(old), *back_settings),
        before=old.id if old else "",
    )
