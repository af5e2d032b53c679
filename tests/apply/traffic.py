"""What the phone does while rules change, as a program of its own: `traffic.py allowed|denied|talk FOLDER SOURCE HOST PORT`.

`allowed` and `denied` connect as fast as they can until the file FOLDER/stop is there, and print [got through, did not]. `talk` keeps one connection open:
a line before FOLDER/armed is there, one after it, and prints [whether the second froze, its late answer].
"""

import json
import selectors
import socket
import sys
import time
from pathlib import Path

LIMIT = 240


def burst(folder: Path, source: str, to: tuple[str, int], *, many: int, patience: float) -> tuple[int, int]:
    """Connect from one address, `many` at once, giving each `patience` seconds: how many got through, and how many did not."""
    through = failed = 0
    end = time.monotonic() + LIMIT
    while not (folder / "stop").exists() and time.monotonic() < end:
        waiting = set()
        with selectors.DefaultSelector() as selector:
            for _ in range(many):
                peer = socket.socket()
                peer.setblocking(False)
                peer.bind((source, 0))
                peer.connect_ex(to)
                selector.register(peer, selectors.EVENT_WRITE)
                waiting.add(peer)
            until = time.monotonic() + patience
            while waiting and (left := until - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    peer = next(p for p in waiting if p is key.fileobj)
                    good = peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                    through, failed = through + good, failed + (not good)
                    selector.unregister(peer)
                    waiting.remove(peer)
                    peer.close()
            failed += len(waiting)
            for peer in waiting:
                peer.close()
    return through, failed


def talk(folder: Path, source: str, to: tuple[str, int]) -> tuple[bool, str]:
    """One connection over a change of the rules: whether it froze, and what arrived at last."""
    with socket.create_connection(to, timeout=5, source_address=(source, 0)) as peer:
        peer.sendall(b"before\n")
        if peer.recv(100) != b"before\n":
            raise ValueError("no answer before the change")
        (folder / "talking").touch()
        end = time.monotonic() + LIMIT
        while not (folder / "armed").exists() and time.monotonic() < end:
            time.sleep(0.02)
        peer.sendall(b"during\n")
        peer.settimeout(1)
        try:
            return False, peer.recv(100).decode()
        except TimeoutError:
            peer.settimeout(40)
            return True, peer.recv(100).decode()


def main() -> None:
    """Do what the arguments say and print the result as JSON."""
    what, folder, source, host, port = sys.argv[1:6]
    to = (host, int(port))
    if what == "talk":
        print(json.dumps(talk(Path(folder), source, to)))
    else:
        # one that must get through may take its time; for one that must not, many short attempts find a leak best
        many, patience = (4, 3.0) if what == "allowed" else (16, 0.05)
        print(json.dumps(burst(Path(folder), source, to, many=many, patience=patience)))


if __name__ == "__main__":
    main()
