"""librespot-java 1.6.3 with its API, without an account. Runs against the stand-in, or the program where the machine has it.

Every expectation here was seen on the program. What concerns Spotify Connect runs against the player as well, which has the same
code for it and can be had everywhere: there the stand-in is compared with the program in every run.
"""

from collections.abc import Callable, Iterator

import pytest

from family.ask import (
    ACCEPT,
    FOREIGN,
    FORM,
    KEYS,
    SPEAKER6,
    WEBSOCKET,
    Ask,
    Scene,
    login,
    scene,
)

pytestmark = [pytest.mark.kernel, pytest.mark.family]

NAME = "librespot-java-api"
API = 24879


@pytest.fixture(scope="module")
def speaker() -> Iterator[Scene]:
    """One that all tests share which change nothing."""
    with scene(NAME) as one:
        yield one


@pytest.fixture(scope="module", params=[NAME, "librespot-java"])
def either(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """The same, or the player, which has no API."""
    with scene(request.param) as one:
        yield one


@pytest.fixture(autouse=True)
def _told(told: Callable[[str], None], request: pytest.FixtureRequest) -> None:
    told(request.getfixturevalue("either").running.daemon.name if "either" in request.fixturenames else NAME)


def post(path: str) -> Ask:
    """A POST without a body."""
    return Ask("POST", path)


COMMANDS = "load play-pause pause resume next prev seek shuffle repeat set-volume volume-up volume-down addToQueue current tracks bogus"
NO_SESSION = [
    *(post(f"/player/{command}") for command in COMMANDS.split()),
    post("/player/"),
    post("/metadata/track/x"),
    post("/metadata/x"),
    post("/search/x"),
    post("/profile/someone/followers"),
    post("/token/playlist-read"),
    post("/instance/bogus"),
    post("/instance/close"),
    post("/instance/terminate"),
    Ask(path="/instance"),
    Ask(path="/instance", headers=FOREIGN, host="rebound.example"),
    Ask(path="/web-api"),
    Ask(path="/web-api/v1/me"),
    Ask("DELETE", "/web-api/v1/me"),
]


@pytest.mark.parametrize("request_", NO_SESSION, ids=str)
def test_without_a_session_the_api_says_204(speaker: Scene, request_: Ask) -> None:
    """Known routes are answered with 204, to any Host and Origin, and any page may read that."""
    reply = speaker.api(request_, API)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (Ask(), 404),
        (Ask("HEAD", "/"), 404),
        (Ask(path="/nope"), 404),
        (post("/nope"), 404),
        (post("/player"), 404),
        (Ask(path="/events"), 404),
        (post("/events"), 405),
        (Ask(path="/player/current"), 405),
        (Ask(path="/profile/someone/followers"), 405),
        (Ask(path="/token/x"), 405),
        (Ask(path="/web-api/"), 405),
        (Ask(path="/discovery/list"), 405),
        (post("/instance"), 405),
        (Ask("OPTIONS", "/player/pause", {**FOREIGN, "Access-Control-Request-Method": "POST"}), 405),
    ],
    ids=str,
)
def test_other_requests_are_refused_and_readable_by_any_page(speaker: Scene, request_: Ask, status: int) -> None:
    """404 for what does not exist, 405 for the wrong method, both with `Access-Control-Allow-Origin: *` and nothing else to say."""
    reply = speaker.api(request_, API)
    assert (reply.status, reply.body, reply.headers["content-length"]) == (status, b"", "0")
    assert (reply.headers["access-control-allow-origin"], "allow" in reply.headers) == ("*", False)


@pytest.mark.parametrize("request_", [Ask(path="/instance", host=None), Ask(raw=b"garbage\r\n\r\n")], ids=str)
def test_what_is_no_request_is_400(speaker: Scene, request_: Ask) -> None:
    """And the connection ends."""
    reply = speaker.api(request_, API)
    assert (reply.status, reply.body, reply.end) == (400, b"", "closed")


def test_discovery_lists_the_speakers_of_the_network(speaker: Scene) -> None:
    """To anybody: itself with its host and port, among others that it has seen."""
    reply = speaker.api(post("/discovery/list"), API)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert {"name": "kitchen", "target": "speaker", "port": speaker.running.port} in reply.json()
    other = speaker.api(post("/discovery/bogus"), API)
    assert (other.status, other.body) == (400, b'{"name":"action"}')


@pytest.mark.parametrize("headers", [{}, FOREIGN])
def test_websocket_from_any_origin(speaker: Scene, headers: dict[str, str]) -> None:
    """The events are open to any page."""
    reply = speaker.api(Ask(path="/events", headers={**WEBSOCKET, **headers}), API, patience=1)
    assert (reply.status, reply.headers["sec-websocket-accept"]) == (101, ACCEPT)
    assert (reply.headers["access-control-allow-origin"], reply.headers["sec-websocket-location"]) == (
        "*",
        "ws://h/events",
    )


@pytest.mark.parametrize("headers", [{"Sec-WebSocket-Version": "12"}, {"Sec-WebSocket-Key": ""}])
def test_an_incomplete_handshake_is_404(speaker: Scene, headers: dict[str, str]) -> None:
    """A key and version 13 are needed."""
    given = {name: value for name, value in {**WEBSOCKET, **headers}.items() if value}
    assert speaker.api(Ask(path="/events", headers=given), API, patience=1).status == 404


# ---- Spotify Connect ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        Ask(path="/?action=getInfo"),
        Ask(path="/any/where?action=getInfo", host="rebound.example"),
        Ask(path="/?action=getInfo&action=nope"),
        Ask(path="/?action=getInfo&x=%zz"),
        *(Ask(method, "/?action=getInfo", FOREIGN) for method in ("OPTIONS", "PUT", "HEAD")),
        Ask("POST", "/any/where", FORM, b"action=getInfo"),
        Ask("POST", "/", FORM, b"action=nope&action=getInfo"),
    ],
    ids=str,
)
def test_get_info_by_any_method_and_path(either: Scene, request_: Ask) -> None:
    """Of two actions the first counts in a query, the last in a form. HEAD has a body, and the end is the end of the connection."""
    reply = either.connect(request_)
    assert (reply.status, dict(reply.headers), reply.end) == (200, {"content-type": "application/json"}, "closed")
    info = reply.json()
    assert list(info) == KEYS
    told = ("brandDisplayName", "modelDisplayName", "version", "libraryVersion", "statusString", "resolverVersion")
    assert [info[key] for key in told] == ["librespot-org", "librespot-java", "2.7.1", "1.6.3", "OK", "0"]


@pytest.mark.parametrize(
    "request_",
    [
        Ask(),
        Ask(path="/?action=resetUsers"),
        Ask(path="/?action=addUser"),
        Ask("POST", "/", {}, b"action=getInfo"),
        Ask("POST", "/", {"Content-Type": "text/plain"}, b"action=getInfo"),
        Ask("POST", "/", {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, b"action=getInfo"),
        Ask("POST", "/", {"content-type": "application/x-www-form-urlencoded"}, b"action=getInfo"),
        Ask("POST", "/?action=getInfo", FORM, b"action=nope"),
        Ask("POST", "/?action=getInfo"),
        Ask("POST", "/", FORM, b"action=addUser"),
        Ask(raw=b"garbage\r\n\r\n"),
    ],
    ids=str,
)
def test_what_it_does_not_understand_it_closes_without_a_byte(either: Scene, request_: Ask) -> None:
    """A header in another case or a content type with a charset is not understood."""
    reply = either.connect(request_)
    assert (reply.status, reply.body, reply.end) == (0, b"", "closed")


@pytest.mark.parametrize("body", [b"no equals sign", b"action=addUser&userName=u&blob=@@@&clientKey=AAAA"])
def test_what_breaks_its_parser_is_never_answered(either: Scene, body: bytes) -> None:
    """A form without `=`, a blob that is no base64: the connection stays open (in the program until its memory is tidied up)."""
    reply = either.connect(Ask("POST", "/", FORM, body), patience=1)
    assert (reply.status, reply.body) == (0, b"")
    assert reply.end == "open" or not either.running.daemon.standin


@pytest.mark.parametrize("missing", ["userName", "blob", "clientKey"])
def test_add_user_without_a_parameter_is_closed(either: Scene, missing: str) -> None:
    """Without a byte; `deviceName` is not asked for."""
    form = login(either.info(), "mallory", {missing: "-"})
    assert either.connect(Ask("POST", "/", FORM, form)).status == 0


def test_add_user_with_a_wrong_mac(either: Scene) -> None:
    """Is 400 with no header and no body."""
    reply = either.connect(Ask("POST", "/", FORM, login(either.info(), "mallory", wrong_mac=True)))
    assert (reply.status, reply.body) == (400, b"")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("key", [None, 0, 1])
def test_one_request_is_enough(either: Scene, method: str, key: int | None) -> None:
    """By POST or by a mere link, also with a DH value that hides nothing: accepted before the login is tried.

    Where that fails at once, for want of a name server, a second answer follows on the same connection.
    """
    form = login(either.info(), "mallory", key=key)
    reply = either.connect(Ask("POST", "/", FORM, form) if method == "POST" else Ask(path="/?" + form.decode()))
    said = b'{"status":101,"spotifyError":0,"statusString":"OK"}HTTP/1.1 500 Internal Server Error\r\n\r\n'
    assert (reply.status, reply.body, reply.end) == (200, said, "closed")
    assert either.info()["activeUser"] == ""


@pytest.mark.parametrize("name", [NAME, "librespot-java"])
def test_a_login_that_is_under_way_owns_the_speaker(name: str) -> None:
    """While nobody answers the login, its name is shown and locked, and gives way to whoever asks with another."""
    with scene(name, logins_wait=True) as one:
        for user in ("alice", "mallory"):
            request = Ask("POST", "/", FORM, login(one.info(), user))
            reply = one.connect(request, patience=1)
            assert (reply.status, reply.end) == (200, "open")
            assert reply.json() == {"status": 101, "spotifyError": 0, "statusString": "OK"}
            again = one.connect(request)
            assert (again.status, again.headers, again.body) == (403, {}, b"")
            assert one.info()["activeUser"] == user
        assert one.running.alive()


# ---- what it opens --------------------------------------------------------------------------------------------------------


def test_its_api_is_open_to_all_unless_told(speaker: Scene) -> None:
    """On both families by default; `api.host` narrows it, and leaves Spotify Connect open."""
    assert speaker.api(Ask(path="/instance"), API, address=SPEAKER6).status == 204
    with scene(NAME, options={"api.host": "127.0.0.1"}) as one:
        with pytest.raises(ConnectionRefusedError):
            one.api(Ask(path="/instance"), API)
        assert one.connect(Ask(path="/?action=getInfo"), address=SPEAKER6).status == 200


def test_a_stand_in_is_called_one(speaker: Scene) -> None:
    """By its name and by `ps`; the program itself is not."""
    daemon = speaker.running.daemon
    command = speaker.speaker.run(["ps", "-o", "comm=", "-p", str(speaker.running.pid)]).stdout.strip()
    assert daemon.standin == ("stand-in" in daemon.title) == (command == "standin-java")
