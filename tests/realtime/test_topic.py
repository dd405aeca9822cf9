import pytest

from realtime.errors import InvalidTopic
from realtime.topic import Kind, Retention, RetentionRules, Topic


@pytest.mark.parametrize("name", ["a", "trading.signals.symbol.NIFTY", "x-1_2.3", "a" * 99])
def test_valid_names(name):
    assert Topic(name, Kind.LOG).name == name


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ü", "a\n", "a" * 100])
def test_invalid_names_say_why(name):
    with pytest.raises(InvalidTopic, match="topic"):
        Topic(name, Kind.LOG)


def test_first_matching_rule_decides():
    rules = RetentionRules([("a.b.*", Retention(5, 1)), ("a.*", Retention(7, 1))], Retention(9, 1))
    assert [rules.for_topic(name).count for name in ("a.b.c", "a.c", "z")] == [5, 7, 9]
