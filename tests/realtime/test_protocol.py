"""Whatever a client sends, the core answers; it never raises."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from realtime.clock import ManualClock
from realtime.limits import Limits
from realtime.messages import Command, encode
from realtime.protocol import CommandSet, Disconnect, Execute, ProtocolCore, Respond


class SubscribeSymbol(Command, frozen=True, tag="subscribe_symbol"):
    symbol: str


COMMANDS = CommandSet([SubscribeSymbol])


def core(**limits):
    clock = ManualClock()
    return ProtocolCore(COMMANDS, Limits(**limits), clock), clock


def only_error(effects):
    (effect,) = effects
    assert isinstance(effect, Respond)
    message = json.loads(encode(effect.message))
    assert message["type"] == "error"
    return message


def test_ping_is_answered_with_its_request_id():
    protocol, _ = core()
    (effect,) = protocol.receive('{"type":"ping","request_id":"7"}')
    message = json.loads(encode(effect.message))
    assert (message["type"], message["request_id"]) == ("pong", "7")
    assert message["timestamp"].endswith("Z")


def test_a_valid_command_is_to_be_executed():
    protocol, _ = core()
    assert protocol.receive('{"type":"subscribe_symbol","symbol":"NIFTY"}') == [
        Execute(SubscribeSymbol(symbol="NIFTY"))
    ]


@pytest.mark.parametrize(
    ("text", "error_code", "says"),
    [
        ("", "malformed_message", "expected a JSON object"),
        ("nonsense", "malformed_message", "nonsense"),
        ("[]", "malformed_message", "object"),
        ("null", "malformed_message", "object"),
        ('{"no":"type"}', "malformed_message", "type"),
        ('{"type":5}', "malformed_message", "type"),
        ('{"type":"ping","request_id":"' + "x" * 65 + '"}', "malformed_message", "64"),
        ('{"type":"subscribe_symbols"}', "unknown_type", "authenticate, ping, subscribe_symbol"),
        ('{"type":"subscribe_symbol"}', "invalid_command", "symbol"),
        ('{"type":"subscribe_symbol","symbol":5}', "invalid_command", "`str`, got `int`"),
        ('{"type":"subscribe_symbol","symbol":"X","simbol":"Y"}', "invalid_command", "simbol"),
        ('{"type":"ping"' + ',"x":' + "[" * 20_000 + "]" * 20_000 + "}", "malformed_message", ""),
        ('{"type":"subscribe_symbol","symbol":' + "9" * 10_000 + "}", "malformed_message", ""),
        ('{"type":"subscribe_symbol","symbol":"\\ud800"}', "malformed_message", ""),
        ('{"type":"subscribe_symbol","symbol":"\ud800"}', "malformed_message", ""),
    ],
)
def test_bad_input_gets_an_error_that_says_what_came_and_what_is_allowed(text, error_code, says):
    protocol, _ = core()
    message = only_error(protocol.receive(text))
    assert message["error_code"] in {error_code, "invalid_command"}
    assert says in message["error"]
    assert len(message["error"]) < 400


def test_binary_is_refused():
    protocol, _ = core()
    assert only_error(protocol.receive(b"\x00"))["error_code"] == "malformed_message"


def test_a_message_too_large_is_refused_by_bytes_not_characters():
    protocol, _ = core(message_bytes=100)
    assert only_error(protocol.receive("é" * 51))["error_code"] == "message_too_large"


def test_the_request_id_comes_back_on_errors():
    protocol, _ = core()
    assert only_error(protocol.receive('{"type":"nope","request_id":41}'))["request_id"] == 41


def test_a_burst_is_allowed_and_then_the_rate():
    protocol, clock = core()
    assert all(protocol.receive('{"type":"ping"}')[0].message.__class__.__name__ == "Pong" for _ in range(40))
    assert only_error(protocol.receive('{"type":"ping"}'))["error_code"] == "rate_limited"
    clock.advance(1.0)
    answers = [protocol.receive('{"type":"ping"}') for _ in range(20)]
    assert all(type(effects[0].message).__name__ == "Pong" for effects in answers)


def test_repeated_abuse_closes_with_the_code_of_the_abuse():
    protocol, _ = core()
    closes = [e for _ in range(12) for e in protocol.receive("x") if isinstance(e, Disconnect)]
    assert closes[0].close.code == 4400

    protocol, _ = core()
    effects = [e for _ in range(60) for e in protocol.receive('{"type":"ping"}')]
    close = next(e for e in effects if isinstance(e, Disconnect))
    assert close.close.code == 4029
    assert "retry after 50 s" in close.reason

    protocol, _ = core(message_bytes=10)
    closes = [e for _ in range(12) for e in protocol.receive("x" * 11) if isinstance(e, Disconnect)]
    assert closes[0].close.code == 1009


def test_occasional_mistakes_never_close():
    protocol, clock = core()
    for _ in range(200):
        clock.advance(6)
        only_error(protocol.receive("typo"))


anything = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=[])),
    st.binary(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(json.dumps),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["ping", "subscribe_symbol", "authenticate", "x"])},
        optional={"symbol": st.none() | st.text() | st.integers(), "request_id": st.text() | st.integers() | st.none()},
    ).map(json.dumps),
)


@given(st.lists(anything, max_size=60))
@example(["\ud800"])
def test_any_input_is_answered_and_nothing_raises(inputs):
    protocol, _ = core()
    for data in inputs:
        effects = protocol.receive(data)
        assert effects
        for effect in effects:
            if isinstance(effect, Respond):
                encode(effect.message).decode()
