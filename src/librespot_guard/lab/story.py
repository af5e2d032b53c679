"""The chapters of the demo: what each host does, what is shown of it, and what must have been observed."""

import difflib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from librespot_guard.lab import plot
from librespot_guard.lab import stage as on
from librespot_guard.lab.daemons import Daemon, Running
from librespot_guard.lab.stage import Stage
from librespot_guard.lab.telling import Narrator, Record, StoppedError

PORT = 4070
NAME = "living-room"
GATE_SECONDS = 5


class Story:
    """The chapters, and what has been seen so far."""

    def __init__(self, daemon: Daemon, built: Stage, narrator: Narrator, record: Record, keep_going: bool) -> None:
        self.daemon, self.stage, self.narrator = daemon, built, narrator
        self.record, self.keep_going = record, keep_going
        self.number = 0
        self.running: Running | None = None
        self.before: dict[str, str] = {}
        self.after: dict[str, str] = {}

    def chapters(self) -> list[tuple[str, Callable[[], None]]]:
        """Every chapter, by its title."""
        return [
            ("What runs here, and who can reach it", self.found),
            ("A stranger on the guest network", self.attacked),
            ("A policy", self.planned),
            ("Applied, and nobody confirms", self.reverted),
            ("Applied again, and confirmed from a second session", self.confirmed),
            ("Verified with real packets", self.verified),
            ("Before and after", self.compared),
        ]

    def end(self) -> None:
        """Stop the daemon, if one runs."""
        if self.running is not None:
            self.running.stop()
            self.running = None

    # ---- the chapters ---------------------------------------------------------------------------------------------------

    def found(self) -> None:
        """`scan`, `audit` and `reach` on the speaker as it comes."""
        d = self.daemon
        what = f"{d.title}, which no package registry has" if d.standin else f"{d.title}, the real program"
        self.say(
            f"A speaker runs {what}, as it comes: no port given. It has two networks: eth0 is home, eth1 is for guests."
        )
        self.running = self.start()
        self.guard("scan", lines=20)
        scan = self.data("scan")
        services = [s for s in scan.get("services", []) if s["flavour"] == plot.speaks(d) and s["name"] == NAME]
        ports = {one["port"] for s in services for one in s["listeners"] if one["surface"] == "connect"}
        self.claim(
            f"`scan` found {NAME}, its kind, and its port, which was drawn at random", ports == {self.running.port}
        )
        self.guard("audit", statuses=(0, 1), lines=18)
        self.claim("`audit` found something wrong with it", bool(self.data("audit").get("findings")))
        self.guard("reach", lines=16)
        self.before = self.reached()
        self.claim("`reach` says: the guest network reaches it", self.reaches(self.before, on.STRANGER4))

    def attacked(self) -> None:
        """The stranger finds it, reads it, and hands it a made-up login."""
        running = self.alive()
        victim = "alice"
        if plot.logins_last(self.daemon):
            self.say(
                f"The phone at home connects as {victim} (the daemon has no internet here, so the login stays under way)."
            )
            done = on.take_over(self.stage.phone, on.HOME4, running.port, victim)
            self.sent("phone", f"POST http://{on.HOME4}:{running.port}/ action=addUser userName={victim}", done)
        self.say("The stranger asks the network for speakers, and the speaker for its name. Neither needs a password.")
        found = on.look_around(self.stage.stranger)
        self.sent("stranger", "mDNS query: _spotify-connect._tcp.local", found)
        if found.got is None and self.daemon.name in plot.ONE_NETWORK:
            self.say(
                "This version answers mDNS on one network only, and that is not the guests'. Its port is open to them all the same."
            )
        else:
            self.claim("the stranger finds the speaker", found.got is not None and found.got.port == running.port)
        seen = on.ask(self.stage.stranger, on.GUEST4, running.port)
        self.sent("stranger", f"GET http://{on.GUEST4}:{running.port}/?action=getInfo", seen)
        self.claim(f"the stranger reads its name: {NAME}", seen.got is not None and seen.got.get("remoteName") == NAME)
        if plot.logins_last(self.daemon):
            self.claim(
                f"the stranger reads who is logged in: {victim}",
                seen.got is not None and seen.got.get("activeUser") == victim,
            )
        else:
            self.say(
                "Nobody is logged in at the moment; if somebody were, the account's name would be in the same answer (`activeUser`)."
            )
        over6 = on.ask(self.stage.stranger, on.GUEST6, running.port)
        self.before["stranger, IPv6"] = over6.why or "reads its name"
        self.say(
            "Now one more request, well formed, with a made-up login. The protocol has no secret that the stranger would lack."
        )
        done = on.take_over(self.stage.stranger, on.GUEST4, running.port, "mallory")
        self.sent("stranger", f"POST http://{on.GUEST4}:{running.port}/ action=addUser userName=mallory", done)
        if self.daemon.flavour == "go-librespot":
            self.claim("it was taken as far as the login, which fails without internet", done.got == (403, None))
        else:
            self.claim("the daemon accepted it (status 101) without any authentication", done.got == (200, 101))
        self.before["stranger, IPv4"] = plot.consequence(self, running, victim)

    def planned(self) -> None:
        """A fixed port, `init`, an edit, `check` and `plan`."""
        self.end()
        self.say(f"The daemon is started again, on a fixed port ({PORT}), so that rules can hold over a restart.")
        self.running = self.start(PORT)
        done = self.guard("init", "-o", "draft.yaml", quiet=True)
        self.claim("`init` wrote a policy from what it found", done == 0)
        draft = self.stage.read("draft.yaml") if done == 0 else ""
        policy = edited(draft)
        self.stage.write("policy.yaml", policy)
        changes = difflib.unified_diff(
            draft.splitlines(), policy.splitlines(), "draft.yaml", "policy.yaml", n=1, lineterm=""
        )
        self.say("The draft is edited: the guest network goes out, and the reason for the home network goes in.")
        self.narrator.command("speaker", "diff -U1 draft.yaml policy.yaml", "\n".join(changes), 0)
        self.claim("`check` accepts it", self.guard("check", "policy.yaml") == 0)
        self.claim(
            "`plan` says what would change, and changes nothing",
            self.guard("plan", "policy.yaml", lines=60) == 0 and not self.own_table(),
        )

    def reverted(self) -> None:
        """`apply`, nobody confirms, and the kernel puts the old rules back."""
        self.say(
            f"The rules are loaded behind a gate that the kernel holds. Nobody confirms for {GATE_SECONDS} seconds."
        )
        running = self.alive()
        status = self.guard(
            "apply", "policy.yaml", "--yes", "--no-wait", "--confirm-within", f"{GATE_SECONDS}s", quiet=True
        )
        armed = time.monotonic()
        self.claim("`apply` armed the change", status == 0)
        shut = on.ask(self.stage.stranger, on.GUEST4, running.port)
        self.sent("stranger", f"GET http://{on.GUEST4}:{running.port}/?action=getInfo", shut)
        self.claim("the stranger gets nothing any more", shut.got is None)
        opened = None
        while time.monotonic() < armed + GATE_SECONDS + 5 and opened is None:
            seen = on.ask(self.stage.stranger, on.GUEST4, running.port)
            opened = time.monotonic() - armed if seen.got is not None else None
        self.sent(
            "stranger", f"the same, {opened:.1f} s after `apply`" if opened else "the same, again and again", seen
        )
        self.claim(
            "the gate fell back by itself, and the old state is back: with a mistake in the policy you would be back in, too",
            opened is not None,
        )
        self.guard("status")

    def confirmed(self) -> None:
        """`apply` and `confirm`: the stranger is out, the phone is not."""
        running = self.alive()
        self.claim(
            "`apply` armed the change again", self.guard("apply", "policy.yaml", "--yes", "--no-wait", quiet=True) == 0
        )
        self.say("From a second session, which shows that one can still come in:")
        self.claim("`confirm` made it permanent", self.guard("confirm") == 0)
        attempts = [
            ("getInfo over IPv4", on.ask(self.stage.stranger, on.GUEST4, running.port)),
            (
                "getInfo over IPv4, at its address on the home network",
                on.ask(self.stage.stranger, on.HOME4, running.port),
            ),
            ("getInfo over IPv6", on.ask(self.stage.stranger, on.GUEST6, running.port)),
            ("a bare TCP connection", on.connects(self.stage.stranger, on.GUEST4, running.port)),
            ("mDNS query", on.look_around(self.stage.stranger, timeout=1.0)),
        ]
        for what, seen in attempts:
            self.sent("stranger", what, seen)
        self.claim(
            "the same stranger gets nothing, by IPv4, by IPv6 and by mDNS",
            all(seen.got is None for _, seen in attempts),
        )
        self.after["stranger, IPv4"], self.after["stranger, IPv6"] = attempts[0][1].why, attempts[2][1].why
        found = on.look_around(self.stage.phone)
        self.sent("phone", "mDNS query: _spotify-connect._tcp.local", found)
        self.claim(
            "the phone at home still finds the speaker", found.got is not None and found.got.port == running.port
        )
        info = on.ask(self.stage.phone, on.HOME4, running.port)
        self.sent("phone", f"GET http://{on.HOME4}:{running.port}/?action=getInfo", info)
        self.claim("and still connects to it", info.got is not None and info.got.get("remoteName") == NAME)
        self.after["phone"] = "finds it, connects" if found.got is not None and info.got is not None else "lost"
        self.claim("the daemon is alive and well", running.alive())

    def verified(self) -> None:
        """`verify`, and `apply` once more."""
        self.say(
            "A twin of the speaker is built in a throw-away namespace, with the live rules, and shot at from every boundary of the policy."
        )
        status = self.guard("verify", "policy.yaml")
        self.claim("`verify`: proved on the rules, and no packet disagrees", status == 0)
        self.claim(
            "applying it once more changes nothing",
            self.guard("apply", "policy.yaml", "--yes", "--no-wait", quiet=True) == 0 and self.unchanged(),
        )

    def compared(self) -> None:
        """Before and after, side by side."""
        after = self.reached()
        self.claim("`reach` says: the guest network does not reach it any more", not self.reaches(after, on.STRANGER4))
        self.claim("`reach` says: the home network does", self.reaches(after, "192.168.10.20"))
        rows = [
            (who, self.before.get(who, "finds it, connects"), self.after.get(who, ""))
            for who in ("stranger, IPv4", "stranger, IPv6", "phone")
        ]
        rows += [
            (f"reach, in over {way}", self.before.get(way, "nobody"), after.get(way, "nobody"))
            for way in sorted({*self.before, *after})
            if way.startswith("eth")
        ]
        self.narrator.rows(("who", "before", "after"), rows)
        self.guard("history")

    # ---- helpers --------------------------------------------------------------------------------------------------------

    def start(self, port: int | None = None) -> Running:
        """Start the daemon of the story."""
        d = self.daemon
        return d.start(
            self.stage.speaker, name=NAME, port=port, options=plot.options(d), logins_wait=plot.logins_last(d)
        )

    def say(self, text: str) -> None:
        """Narrate."""
        self.narrator.say(text)

    def claim(self, text: str, holds: bool) -> None:
        """Claim something that was observed, or was not: then the story ends, unless it is to go on."""
        self.record.claims.append({"step": self.number, "text": text, "observed": bool(holds)})
        self.narrator.claim(text, bool(holds))
        if not holds and not self.keep_going:
            raise StoppedError(text)

    def alive(self) -> Running:
        """The daemon that runs now."""
        if self.running is None:
            raise StoppedError("no daemon runs")
        return self.running

    def sent(self, who: str, what: str, seen: on.Seen) -> None:
        """Show a request and what came back, in one or two lines."""
        answer = seen.why
        if isinstance(seen.got, dict):
            keys = ("remoteName", "activeUser", "brandDisplayName", "modelDisplayName", "libraryVersion", "deviceID")
            answer = json.dumps({k: seen.got[k] for k in keys if k in seen.got}, ensure_ascii=False)
        elif isinstance(seen.got, tuple):
            answer = f"HTTP {seen.got[0]}, status {seen.got[1]}"
        elif seen.got is not None:
            answer = (
                f"{seen.got.name} at {', '.join(seen.got.addresses)} port {seen.got.port}"
                if hasattr(seen.got, "port")
                else "connected"
            )
        self.narrator.command(who, what, answer, 0 if seen.got is not None else 1)

    def guard(self, *arguments: str, statuses: tuple[int, ...] = (0,), quiet: bool = False, lines: int = 40) -> int:
        """Run a command of ours on the speaker and show it; `quiet` shows only what it says on stderr."""
        begun = time.monotonic()
        done = self.stage.guard(*arguments)
        output = done.stderr if quiet else done.stdout
        if done.returncode not in statuses:
            output = done.stdout + done.stderr
        output = output.replace(f"{Path.home()}/", "~/")
        self.record.commands.append(
            {
                "step": self.number,
                "argv": ["librespot-guard", *arguments],
                "status": done.returncode,
                "seconds": round(time.monotonic() - begun, 2),
            }
        )
        self.narrator.command(
            "speaker", "librespot-guard " + " ".join(arguments), output.strip("\n"), done.returncode, lines=lines
        )
        return done.returncode

    def data(self, *arguments: str) -> dict[str, Any]:
        """What a command says as JSON; {} if it says none."""
        done = self.stage.guard(*arguments, "--format", "json")
        try:
            document = json.loads(done.stdout)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def reached(self) -> dict[str, str]:
        """Who can reach the Spotify Connect port, by way in ("eth0 ipv4")."""
        out: dict[str, list[str]] = {}
        for answer in self.data("reach").get("answers", []):
            if answer["listener"]["surface"] == "connect" and answer["interface"] != "lo" and not answer.get("surplus"):
                out.setdefault(f"{answer['interface']} {answer['family']}", []).extend(answer["may"])
        return {way: ", ".join(dict.fromkeys(networks)) or "nobody" for way, networks in out.items()}

    def reaches(self, reached: dict[str, str], source: str) -> bool:
        """Whether some way in lets this address through."""
        from ipaddress import ip_address, ip_network  # noqa: PLC0415

        way = "eth1 ipv4" if source == on.STRANGER4 else "eth0 ipv4"
        networks = [n for n in reached.get(way, "nobody").split(", ") if n != "nobody"]
        return any(ip_address(source) in ip_network(n) for n in networks)

    def own_table(self) -> bool:
        """Whether our table is in the kernel of the speaker."""
        return self.stage.speaker.run(["nft", "list", "table", "inet", "librespot_guard"]).returncode == 0

    def unchanged(self) -> bool:
        """Whether nothing waits to be confirmed."""
        return self.data("status").get("pending") is None


def edited(draft: str) -> str:
    """The draft without the guest network, as its administrator would edit it."""
    kept, inside = [], False
    for line in draft.splitlines():
        inside = (inside and bool(line.strip())) or line.strip() == "lan-eth1:"
        if not inside:
            kept.append(
                line.replace("[lan-eth0, lan-eth1]", "[lan-eth0]").replace(
                    '"everybody on this network: narrow it"', "phones of the family"
                )
            )
    return "\n".join(kept) + "\n"
