"""What may be asked for, as JSON."""

import json

import msgspec
import pytest

from engines.backtest.spec import NO_LIMITS, BacktestSpec, InvalidSpec, spec_from
from engines.trading.risk.limits import RiskLimits


def asked(text):
    return spec_from(json.loads(text))


@pytest.mark.parametrize(
    ("text", "on"),
    [
        ("{}", {}),
        ('{"limits": {}}', {}),
        ('{"limits": {"concentration": 0.3}}', {"concentration": 0.3}),
        (
            '{"limits": {"mtm_stop": "5000.50", "var_99": 0.1, "daily_loss": null}}',
            {"mtm_stop": "5000.50", "var_99": 0.1},
        ),
    ],
)
def test_only_the_limits_that_are_named_are_on(text, on):
    limits = msgspec.to_builtins(asked(text).limits)
    assert {name: value for name, value in limits.items() if value is not None} == on


def test_every_limit_of_an_account_is_off_by_default():
    assert NO_LIMITS.__struct_fields__ == RiskLimits.__struct_fields__
    assert not any(msgspec.structs.asdict(NO_LIMITS).values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"limits": {"max_drawdown": 0.3}}',
            r"limits: max_drawdown is not known; allowed are concentration, .*drawdown",
        ),
        ('{"limits": {"drawdown": 30}}', r"drawdown is 30\.0: it is a share of the account"),
        ('{"limits": 0.3}', r"Expected `object`, got `float` - at `\$\.limits`"),
        ('{"cash": 5000}', r"^cash is not known; allowed are .*opening_cash"),
        ('{"model_version": 0}', r"Expected `int` >= 1 - at `\$\.model_version`"),
        ('{"opening_cash": 5}', r"opening_cash: got 5, allowed is 1,000 to"),
        ('{"start": "2024-03-01", "end": "2024-02-01"}', r"end: 2024-02-01 is before start, 2024-03-01"),
    ],
)
def test_what_cannot_be_is_refused_by_name(text, message):
    with pytest.raises(InvalidSpec, match=message):
        asked(text)


def test_a_spec_comes_back_from_json_as_it_was():
    spec = asked('{"strategy": "model", "model_version": 3, "limits": {"drawdown": 0.2}, "symbols": ["A"]}')
    assert spec_from(json.loads(msgspec.json.encode(spec))) == spec
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=BacktestSpec) == spec
    assert (spec.model_version, spec_from({}).model_version) == (3, None)
