"""go-librespot 0.9.0, without an account: what it opens and answers. Runs against the stand-in, or the program where the machine has it.

Every expectation here was seen on the program. Where releases of Go differ (the status of a redirect), nothing is asserted.
"""

from collections.abc import Callable, Iterator

import pytest

from family.ask import ACCEPT, FOREIGN, FORM, KEYS, SPEAKER6, WEBSOCKET, Ask, Reply, Scene, login, scene
from librespot_guard.errors import MachineError
from librespot_guard.lab import daemons, mdns

pytestmark = [pytest.mark.kernel, pytest.mark.family]

NAME = "go-librespot"
API = 3678
EVERYWHERE = {"server.address": "0.0.0.0"}
NOT_ALLOWED = b"Method Not Allowed\n"
PREFLIGHT = {"Access-Control-Request-Method": "POST"}
PREFLIGHT_VARY = (
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network"
)


@pytest.fixture(scope="module")
def speaker() -> Iterator[Scene]:
    """One that all tests share which change nothing; its API is open to the network."""
    with scene(NAME, options=EVERYWHERE) as one:
        yield one


@pytest.fixture(autouse=True)
def _told(told: Callable[[str], None]) -> None:
    told(NAME)


def post(path: str, body: bytes = b"", **headers: str) -> Ask:
    """A POST to the API, by default without a content type."""
    return Ask("POST", path, headers, body)


NO_SESSION = [
    Ask(path="/status"),
    Ask("HEAD", "/status"),
    Ask(path="/player/volume"),
    *(
        post(f"/player/{verb}")
        for verb in ("resume", "pause", "playpause", "stop", "next", "prev", "seek", "volume", "output")
    ),
    *(post(f"/player/{verb}") for verb in ("repeat_context", "repeat_track", "shuffle_context")),
    post("/player/next", b'{"uri":"a"}'),
    post("/player/seek", b'{"position":-1,"relative":true}'),
    post("/player/volume", b'{"volume":5}'),
    post("/player/volume", b"null"),
    post("/player/add_to_queue", b'{"uri":"x"}'),
    post("/player/play", b'{"uri":"x","unknown":3}'),
    post("/player/play", b'{"URI":"x"}'),
    post("/player/play", b'{"uri":"x"}', **{"Content-Type": "text/plain", **FOREIGN}),
    post("/token"),
    Ask(path="/web-api/v1/me"),
    Ask("DELETE", "/web-api/v1/me"),
]


@pytest.mark.parametrize("request_", NO_SESSION, ids=str)
def test_without_a_session_the_api_says_204(speaker: Scene, request_: Ask) -> None:
    """It is no 401: well-formed requests are answered with 204 and no body, whatever their content type and origin."""
    reply = speaker.api(request_, API)
    assert (reply.status, reply.body, reply.headers.get("vary")) == (204, b"", "Origin")
    assert "content-length" not in reply.headers


BAD = [
    post("/player/play"),
    post("/player/play", b'{"uri":"x"} x'),
    post("/player/add_to_queue"),
    post("/player/next", b'{"uri":1}'),
    post("/player/seek", b'{"position":-1}'),
    post("/player/seek", b'{"position":1.5}'),
    post("/player/volume", b'{"volume":-1}'),
    post("/player/volume", b"nope"),
    post("/player/volume", b"[]"),
    post("/player/volume", b'"x"'),
    post("/player/repeat_context", b'{"repeat_context":1}'),
    post("/set_device_name"),
    post("/set_device_name", b'{"name":""}'),
]


@pytest.mark.parametrize("request_", BAD, ids=str)
def test_a_body_that_does_not_fit_is_400(speaker: Scene, request_: Ask) -> None:
    """What is no JSON, has a wrong type, or lacks what it must have, is 400 without a word."""
    reply = speaker.api(request_, API)
    assert (reply.status, reply.body, reply.headers["content-length"]) == (400, b"", "0")


@pytest.mark.parametrize(
    ("request_", "allow"),
    [
        (post("/"), "GET, HEAD"),
        (Ask("OPTIONS", "/status"), "GET, HEAD"),
        (post("/events"), "GET, HEAD"),
        (Ask("DELETE", "/player/volume"), "GET, HEAD, POST"),
        (Ask(path="/player/pause"), "POST"),
        (Ask(path="/token"), "POST"),
        (Ask("OPTIONS", "/set_device_name", FOREIGN), "POST"),
    ],
    ids=str,
)
def test_a_wrong_method_is_405_and_says_which_is_right(speaker: Scene, request_: Ask, allow: str) -> None:
    """An OPTIONS without Access-Control-Request-Method is one of them."""
    reply = speaker.api(request_, API)
    assert (reply.status, reply.headers["allow"], reply.body) == (405, allow, NOT_ALLOWED)


@pytest.mark.parametrize("request_", [Ask(path="/nope"), post("/nope"), Ask(path="/status/")], ids=str)
def test_an_unknown_path_is_404(speaker: Scene, request_: Ask) -> None:
    """Whatever the method."""
    reply = speaker.api(request_, API)
    assert (reply.status, reply.body, reply.headers["x-content-type-options"]) == (
        404,
        b"404 page not found\n",
        "nosniff",
    )


def test_the_root_tells_whether_it_can_play(speaker: Scene) -> None:
    """`GET /` is 200 with JSON, to any Host; HEAD is the same without the body."""
    reply = speaker.api(Ask(path="/", host="rebound.example"), API)
    assert (reply.status, reply.body) == (200, b'{"playback_ready":false}\n')
    assert (reply.headers["content-type"], reply.headers["content-length"]) == ("application/json", "25")
    head = speaker.api(Ask("HEAD", "/"), API)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "25")


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (Ask(path="/", host=None), b"400 Bad Request: missing required Host header"),
        (Ask(raw=b"garbage\r\n\r\n"), b"400 Bad Request"),
    ],
    ids=str,
)
def test_what_is_no_request_is_400(speaker: Scene, request_: Ask, body: bytes) -> None:
    """In plain text, and the connection ends."""
    reply = speaker.api(request_, API)
    assert (reply.status, reply.body, reply.end) == (400, body, "closed")


@pytest.mark.parametrize("path", ["//status", "/x/../status"])
def test_a_path_that_is_not_canonical_is_redirected(speaker: Scene, path: str) -> None:
    """To the canonical one; the status is 301 or 307 by the release of Go."""
    reply = speaker.api(Ask(path=path), API)
    assert (reply.status in (301, 307), reply.headers["location"], reply.headers["vary"]) == (True, "/status", "Origin")


@pytest.mark.parametrize(
    ("headers", "host", "status"),
    [
        ({}, "h", 101),
        ({"Origin": "http://h"}, "h", 101),
        (FOREIGN, "h", 403),
        (FOREIGN, "evil.example", 101),
        ({"Sec-WebSocket-Version": "12"}, "h", 400),
        ({"Sec-WebSocket-Key": ""}, "h", 400),
    ],
)
def test_websocket(speaker: Scene, headers: dict[str, str], host: str, status: int) -> None:
    """Without an Origin, or with one that equals the Host, forged or not, the events are open; a foreign one is refused."""
    reply = speaker.api(Ask(path="/events", headers={**WEBSOCKET, **headers}, host=host), API, patience=1)
    assert reply.status == status
    if status == 101:
        assert (reply.headers["sec-websocket-accept"], reply.headers["vary"]) == (ACCEPT, "Origin")
    if status == 403:
        assert reply.body == b'request Origin "evil.example" is not authorized for Host "h"\n'


def test_events_without_upgrade(speaker: Scene) -> None:
    """A plain GET of the events is 426, and says what is missing."""
    reply = speaker.api(Ask(path="/events"), API)
    assert (reply.status, reply.headers["upgrade"]) == (426, "websocket")
    assert reply.body == b'WebSocket protocol violation: Connection header "close" does not contain Upgrade\n'


def cors(reply: Reply) -> dict[str, str]:
    """Its CORS headers."""
    return {
        name.removeprefix("access-control-"): v
        for name, v in reply.headers.items()
        if name.startswith("access-control-")
    }


def test_no_origin_is_allowed_by_default(speaker: Scene) -> None:
    """A foreign page can't read, and a preflight is answered without permission; both say what they vary by."""
    reply = speaker.api(Ask(path="/", headers=FOREIGN), API)
    assert (reply.status, cors(reply)) == (200, {})
    for headers in (PREFLIGHT, {**FOREIGN, **PREFLIGHT}):
        reply = speaker.api(Ask("OPTIONS", "/token", headers), API)
        assert (reply.status, cors(reply), reply.headers["vary"]) == (204, {}, PREFLIGHT_VARY)


@pytest.mark.parametrize(("allowed", "who"), [('"*"', "*"), ("http://evil.example", "http://evil.example")])
def test_an_allowed_origin_may_read_with_credentials(allowed: str, who: str) -> None:
    """`allow_origin: "*"` gives `*` together with credentials, opens WebSockets to all, and preflights for GET, HEAD and POST."""
    with scene(NAME, options={**EVERYWHERE, "server.allow_origin": allowed}) as one:
        may = {"allow-origin": who, "allow-credentials": "true"}
        assert cors(one.api(Ask(path="/", headers=FOREIGN), API)) == may
        assert cors(one.api(Ask(path="/token", headers=FOREIGN), API)) == may
        assert cors(one.api(Ask(path="/"), API)) == {}
        assert cors(one.api(Ask("OPTIONS", "/token", {**FOREIGN, **PREFLIGHT}), API)) == {
            **may,
            "allow-methods": "POST",
        }
        asking = {**FOREIGN, **PREFLIGHT, "Access-Control-Request-Headers": "content-type"}
        granted = {**may, "allow-methods": "POST", "allow-headers": "content-type"}
        assert cors(one.api(Ask("OPTIONS", "/token", asking), API)) == granted
        deleting = {**FOREIGN, "Access-Control-Request-Method": "DELETE"}
        assert cors(one.api(Ask("OPTIONS", "/token", deleting), API)) == {}
        reply = one.api(Ask(path="/events", headers={**WEBSOCKET, **FOREIGN}), API, patience=1)
        assert (reply.status, cors(reply)) == (101, may)
        another = {**FOREIGN, "Origin": "http://other.example"}
        assert cors(one.api(Ask(path="/", headers=another), API)) == (may if who == "*" else {})


def test_a_foreign_page_renames_the_speaker() -> None:
    """One POST as text from a foreign origin, no session, no preflight: the name that phones see has changed."""
    with scene(NAME, options=EVERYWHERE) as one:
        reply = one.api(post("/set_device_name", b'{"name":"owned"}', **{"Content-Type": "text/plain", **FOREIGN}), API)
        assert (reply.status, reply.body) == (200, b"null\n")
        assert one.info()["remoteName"] == "owned"
        assert "owned" in [found.name for found in one.phone.call(lambda: mdns.discover("eth0", timeout=5))]


# ---- Spotify Connect ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        Ask(path="/?action=getInfo"),
        Ask(path="/any/where?action=getInfo", host="rebound.example"),
        Ask("OPTIONS", "/?action=getInfo", FOREIGN),
        Ask(path="/?action=getInfo&action=nope"),
        *(Ask(method, "/", FORM, b"action=getInfo") for method in ("POST", "PUT", "PATCH")),
        Ask("POST", "/", {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, b"action=getInfo"),
        Ask("POST", "/?action=nope", FORM, b"action=getInfo"),
    ],
    ids=str,
)
def test_get_info_by_any_method_and_path(speaker: Scene, request_: Ask) -> None:
    """With any Host, without a CORS header; of two actions the first counts, and the body's before the query's."""
    reply = speaker.connect(request_)
    assert (reply.status, reply.headers["content-type"], cors(reply)) == (200, "application/json", {})
    info = reply.json()
    assert list(info) == KEYS
    told = ("brandDisplayName", "modelDisplayName", "version", "statusString", "activeUser", "resolverVersion")
    assert [info[key] for key in told] == ["devgianlu", "go-librespot", "2.7.1", "OK", "", "0"]


def test_get_info_by_head_has_no_body(speaker: Scene) -> None:
    """It has the length that the body would have."""
    reply = speaker.connect(Ask("HEAD", "/?action=getInfo"))
    assert (reply.status, reply.body, int(reply.headers["content-length"]) > 500) == (200, b"", True)


@pytest.mark.parametrize(
    "request_",
    [
        Ask(),
        Ask(path="/?action=resetUsers"),
        Ask(path="/?action=getInfo&x=%zz"),
        Ask(path="/?action=getInfo;x=1"),
        Ask("POST", "/", {}, b"action=getInfo"),
        Ask("POST", "/", {"Content-Type": "text/plain"}, b"action=getInfo"),
        Ask("DELETE", "/", FORM, b"action=getInfo"),
        Ask("POST", "/?action=getInfo", FORM, b"action=nope"),
        Ask("POST", "/", FORM, b"x" * 5_000_000),
        Ask("POST", "/", FORM, b"action=getInfo&x=" + b"x" * 20_000_000),
    ],
    ids=lambda request: str(request)[:90],
)
def test_anything_else_is_400(speaker: Scene, request_: Ask) -> None:
    """No action, an unknown one, a form without its content type, one of more than 10 MB."""
    reply = speaker.connect(request_, patience=20)
    assert (reply.status, reply.body) == (400, b"")


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        *(({name: "-"}, 500) for name in ("userName", "blob", "clientKey", "deviceName")),
        ({"blob": "@@@"}, 500),
        ({"clientKey": "@@@"}, 500),
        ({"blob": "AAAA"}, 500),
        ({}, 403),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_add_user(speaker: Scene, changed: dict[str, str], status: int, method: str) -> None:
    """What is missing or can't be decoded is 500; a well-formed one gets as far as the login (403 without internet), by GET too."""
    form = login(speaker.info(), "mallory", changed)
    request = Ask("POST", "/", FORM, form) if method == "POST" else Ask(path="/?" + form.decode())
    assert (speaker.connect(request, patience=20).status, speaker.info()["activeUser"]) == (status, "")


def test_add_user_with_a_wrong_mac(speaker: Scene) -> None:
    """Is 400, so the blob is looked at."""
    assert speaker.connect(Ask("POST", "/", FORM, login(speaker.info(), "mallory", wrong_mac=True))).status == 400


@pytest.mark.parametrize("key", [0, 1])
def test_add_user_with_a_degenerate_key(speaker: Scene, key: int) -> None:
    """0 and 1 as the DH value pass: who never read the public key gets as far as the login, too."""
    form = login(speaker.info(), "mallory", key=key)
    assert speaker.connect(Ask("POST", "/", FORM, form), patience=20).status == 403


# ---- what it opens --------------------------------------------------------------------------------------------------------


def test_its_api_is_local_unless_told(speaker: Scene) -> None:
    """`server.address` unset: 127.0.0.1; 0.0.0.0: both families; and Spotify Connect is open in each case."""
    assert speaker.api(Ask(), API, address=SPEAKER6).status == 200
    with scene(NAME) as one:
        assert one.connect(Ask(path="/?action=getInfo"), address=SPEAKER6).status == 200
        with pytest.raises(ConnectionRefusedError):
            one.api(Ask(), API)
        assert "127.0.0.1:3678 " in one.speaker.run(["ss", "-Hlnt"]).stdout


@pytest.mark.parametrize("address", ["'::'", "'::1'"])
def test_an_ipv6_address_without_brackets_is_fatal(address: str) -> None:
    """Address and port are joined by a colon, and nothing is left to listen on."""
    with (
        pytest.raises(MachineError, match=r"ended with status 1[\s\S]*too many colons"),
        scene(NAME, options={"server.address": address}),
    ):
        pass


def test_the_run_says_what_it_was(speaker: Scene) -> None:
    """A stand-in is called one, by its name, by the listing and by `ps`; the program itself is not."""
    daemon = speaker.running.daemon
    command = speaker.speaker.run(["ps", "-o", "comm=", "-p", str(speaker.running.pid)]).stdout.strip()
    assert daemon.standin == ("stand-in" in daemon.title) == (command == "standin-go")
    assert daemon.flavour in daemons.NAMES
