"""A listener that accepts and never says a word: a login that leads there stays under way.

`python -m librespot_guard.lab._silence PORT…` listens on 127.0.0.1 and prints `ready`.
"""

import socket
import sys
import threading

# where librespot-java (80) and librespot-python (443) ask for an access point
PORTS = (80, 443)
NAME = "apresolve.spotify.com"


def main(ports: list[int]) -> None:
    """Listen until it is ended."""
    listeners = [socket.create_server(("127.0.0.1", port)) for port in ports]
    print("ready", flush=True)
    threading.Event().wait()
    del listeners


if __name__ == "__main__":
    main([int(port) for port in sys.argv[1:]])
