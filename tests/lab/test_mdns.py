"""The phone's mDNS: real answers are understood, and no message, however hostile, does harm."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.lab import mdns
from librespot_guard.lab.mdns import Found


def _name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def _record(name: bytes, kind: int, data: bytes) -> bytes:
    return name + struct.pack(">HHIH", kind, 0x8001, 60, len(data)) + data


def _answer(*records: bytes) -> bytes:
    return struct.pack(">HHHHHH", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


SERVICE, INSTANCE = _name(mdns.SERVICE), _name("living-room." + mdns.SERVICE)
TXT = b"\x09CPath=/ok\x0bVERSION=1.0"
WHOLE = _answer(
    _record(SERVICE, 12, INSTANCE),
    _record(INSTANCE, 33, struct.pack(">HHH", 0, 0, 4070) + _name("speaker.local")),
    _record(INSTANCE, 16, TXT),
    _record(_name("speaker.local"), 1, bytes([192, 168, 10, 2])),
    _record(_name("other.local"), 1, bytes([192, 0, 2, 1])),
)


def _read(message: bytes) -> dict[str, Found]:
    found: dict[str, Found] = {}
    mdns.read(message, found)
    return found


def test_a_whole_answer() -> None:
    """Name, port, host, TXT and only the host's own address are found."""
    (one,) = _read(WHOLE).values()
    assert one == Found("living-room", "speaker.local", 4070, ("192.168.10.2",), {"CPath": "/ok", "VERSION": "1.0"})


def test_a_question_is_no_answer() -> None:
    """Our own question, heard again, finds nothing."""
    assert _read(mdns.question()) == {}


def test_compressed_names_are_followed() -> None:
    """A pointer to an earlier name (RFC 1035 section 4.1.4) is the same name."""
    pointer = struct.pack(">H", 0xC000 | 12)
    message = _answer(_record(SERVICE, 12, b"\x02lr" + pointer))
    assert [one.name for one in _read(message).values()] == ["lr"]


def test_a_name_that_turns_in_a_circle_ends() -> None:
    """A pointer to itself is no endless loop."""
    assert _read(struct.pack(">HHHHHH", 0, 0x8400, 0, 1, 0, 0) + b"\xc0\x0c") == {}


def test_control_characters_do_not_come_through() -> None:
    """A name can't send control sequences to the terminal."""
    message = _answer(_record(SERVICE, 12, b"\x05a\x1b[2J" + SERVICE))
    assert [one.name for one in _read(message).values()] == ["a?[2J"]


@given(st.binary(max_size=300))
def test_no_message_raises(message: bytes) -> None:
    """Whatever arrives on the port, reading it ends without an error."""
    _read(message)


@given(st.data())
def test_no_change_of_a_real_answer_raises(data: st.DataObject) -> None:
    """Bytes changed or cut off in a real answer are survived too."""
    message = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    _read(bytes(message[: data.draw(st.integers(0, len(message)))]))
