import jwt
import pytest
from django.conf import settings

from apps.accounts import tokens
from apps.accounts.models import TokenFamily

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_access_token_says_who_and_until_when(user):
    claims = tokens.verify_access(tokens.log_in(user).access)
    assert claims.user_id == str(user.pk)


def test_refreshing_rotates(user):
    first = tokens.log_in(user)
    second = tokens.refresh(first.refresh)
    assert second.refresh != first.refresh
    assert tokens.verify_access(second.access).family_id == tokens.verify_access(first.access).family_id


def test_a_refresh_token_used_twice_revokes_the_whole_login_and_no_other(user):
    other_login = tokens.log_in(user)
    first = tokens.log_in(user)
    second = tokens.refresh(first.refresh)
    with pytest.raises(tokens.InvalidToken, match="used before"):
        tokens.refresh(first.refresh)
    for token in (first.access, second.access):
        with pytest.raises(tokens.InvalidToken, match="revoked"):
            tokens.verify_access(token)
    with pytest.raises(tokens.InvalidToken, match="revoked"):
        tokens.refresh(second.refresh)
    tokens.verify_access(other_login.access)


def test_a_refresh_token_is_no_access_token_and_the_other_way_round(user):
    pair = tokens.log_in(user)
    with pytest.raises(tokens.InvalidToken, match="access"):
        tokens.verify_access(pair.refresh)
    with pytest.raises(tokens.InvalidToken, match="refresh"):
        tokens.refresh(pair.access)


def test_an_inactive_users_tokens_are_worthless(user):
    pair = tokens.log_in(user)
    user.is_active = False
    user.save()
    with pytest.raises(tokens.InvalidToken):
        tokens.verify_access(pair.access)
    with pytest.raises(tokens.InvalidToken):
        tokens.refresh(pair.refresh)


@pytest.mark.parametrize("how", ["expired", "other key", "no algorithm", "garbage", "missing claim"])
def test_bad_tokens_are_refused(user, how):
    good = tokens.log_in(user).access
    claims = jwt.decode(good, settings.SECRET_KEY, ["HS256"])
    token = {
        "expired": lambda: jwt.encode({**claims, "exp": 1}, settings.SECRET_KEY, "HS256"),
        "other key": lambda: jwt.encode(claims, "x" * 40, "HS256"),
        "no algorithm": lambda: jwt.encode(claims, None, "none"),
        "garbage": lambda: "a.b.c",
        "missing claim": lambda: jwt.encode({"sub": "1", "exp": claims["exp"]}, settings.SECRET_KEY, "HS256"),
    }[how]()
    with pytest.raises(tokens.InvalidToken):
        tokens.verify_access(token)


def test_which_logins_are_no_longer_good(user):
    family = TokenFamily.objects.get(pk=tokens.verify_access(tokens.log_in(user).access).family_id)
    assert tokens.good_logins([str(family.pk)]) == {str(family.pk): tokens.Login(str(user.pk), is_staff=False)}
    assert tokens.active_users({str(user.pk), "999999"}) == {str(user.pk): False}


def test_a_token_that_was_good_before_expires_all_the_same(user, monkeypatch):
    access = tokens.log_in(user).access
    claims = tokens.read_access(access)
    monkeypatch.setattr(tokens.time, "time", claims.expires_at.timestamp)
    with pytest.raises(tokens.InvalidToken, match="expired"):
        tokens.read_access(access)
