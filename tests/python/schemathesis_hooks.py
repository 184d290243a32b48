"""What schemathesis has to be told about this server, because JSON Schema cannot say it.

Everything else is checked as assets/openapi.json says. Loaded by the run of tests/it/openapi.rs.
"""

import json
import re
import uuid

import requests.adapters
import schemathesis
from schemathesis import GenerationMode

ENDLESS = "text/event-stream"
LINES = ("application/x-ndjson", "text/plain; charset=utf-8")
BATCH = "application/x-ndjson"
MOST_CHANNELS = 64
CLIENTS = 200
UNKNOWN_FIELD = "x-schemathesis-unknown-property"
KEY = re.compile("[!-~]{1,128}")
MOST_CHANNEL_BYTES = 128
MOST_ENCODED_BYTES = 15_000

whole_answer = requests.adapters.HTTPAdapter.send


def beginning_of_a_stream(adapter, request, **options):
    """A stream has no end to wait for: its head and its first bytes are the answer, of one of lines the head alone. Any
    other answer comes whole."""
    options["stream"] = True
    response = whole_answer(adapter, request, **options)
    if request.method == "GET" and response.headers.get("Content-Type") == ENDLESS:
        response._content = next(response.iter_content(None))
        response._content_consumed = True
        assert response._content.startswith(b":\nretry: "), response._content
        response.close()
    if response.headers.get("Content-Type") in LINES and "Content-Length" not in response.headers:
        response._content = b""
        response._content_consumed = True
        response.close()
    return response


requests.adapters.HTTPAdapter.send = beginning_of_a_stream


@schemathesis.serializer(BATCH)
def as_it_is(_context, text):
    return text if isinstance(text, bytes) else str(text).encode()


def is_meant_well(case):
    """A header field that nobody knows is no fault, though it is made up as one."""
    if UNKNOWN_FIELD in (case.headers or {}):
        return True
    return case.meta is None or case.meta.generation.mode == GenerationMode.POSITIVE


def has_body(case):
    return isinstance(case.body, (str, bytes)) and len(case.body) > 0


@schemathesis.hook
def map_case(_context, case):
    """A good message is either the body or `msg`, a line of a batch is JSON, and there is one token: the header's. Nobody
    waits for long, or waits and follows."""
    if is_meant_well(case):
        (case.query or {}).pop("access_token", None)
    if case.method.upper() == "DELETE" and is_meant_well(case):
        # One of those that the test has connected.
        case.path_parameters["number"] = 1 + int(case.path_parameters["number"]) % CLIENTS
    if (case.query or {}).get("wait") is not None and is_meant_well(case):
        case.query["wait"] = 1
        case.query.pop("follow", None)
    if case.method.upper() in ("POST", "PUT") and is_meant_well(case) and has_body(case):
        case.query.pop("msg", None)
        if case.media_type == BATCH and case.meta and case.meta.phase.name.value != "examples":
            case.body = json.dumps(case.body)
    return case


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Each request has a key of its own: another message with the same key is refused."""
    if KEY.fullmatch(str((case.headers or {}).get("Idempotency-Key", ""))):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())


@schemathesis.hook
def filter_case(_context, case):
    for place in (case.path_parameters, case.query):
        channels = (place or {}).get("canal", [])
        if isinstance(channels, str):
            channels = channels.split(",")
        if not isinstance(channels, list):
            continue
        # A head that is too large is refused before anybody reads what is in it. A byte takes up to three when it is encoded.
        if 3 * sum(len(str(name).encode(errors="replace")) for name in channels) > MOST_ENCODED_BYTES:
            return False
        # A channel that is named twice counts once, so more than the most may be fewer.
        if len(channels) > MOST_CHANNELS >= len(set(map(str, channels))):
            return False
        # The limit of a name is one of bytes, and the schema can only count characters.
        names = [str(name).removesuffix("*") for name in channels]
        if any(len(name) <= MOST_CHANNEL_BYTES < len(name.encode()) for name in names):
            return False
    # What is no text for the schema is text on the wire: `{}` is a good message, and a good line of a batch.
    if case.method.upper() in ("POST", "PUT") and isinstance(case.body, (dict, list, int, float, bool, type(None))):
        return False
    if case.method.upper() in ("POST", "PUT") and is_meant_well(case):
        return ("msg" in (case.query or {})) != has_body(case)
    return True
