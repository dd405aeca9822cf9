"""`manage.py train` and `manage.py backtest`: what a person at a terminal sees, and what is left behind."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from apps.ai_studio import models, terminal
from engines.jobs.computing import Refused, compute
from engines.jobs.work import Cancelled, Failed
from tests.apps.ai_studio.jobs import giving

pytestmark = pytest.mark.django_db(transaction=True)
QUICK = {"folds": 2, "boosting": {"iterations": 10}}


class Here:
    """Computes in this process, and really: the process of its own has tests of its own."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, work, on_progress, should_stop):
        try:
            return compute(work, on_progress, should_stop, lambda: 100.0)
        except Refused as refused:
            return Failed(message=str(refused))


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr(terminal, "ComputeProcess", Here)


def test_a_model_is_trained_shown_deployed_and_backtested(user, capsys, tmp_path):
    whose = ("--user-email", user.email)
    fields = {"data_source": "shipped", "bar_seconds": 86_400, "training": QUICK}
    model = models.Model.objects.create(owner=user, name="Mine", **fields)
    call_command("train", "Mine", *whose, "--symbols", "ibm,msft", "--horizon", "3", "--seed", "5", "--deploy")
    shown = capsys.readouterr().out
    assert "Mine v1: out of sample" in shown
    assert "log-loss" in shown
    artifact = model.artifacts.get()
    assert f"{artifact.metrics['log_loss']:.4f}" in shown
    assert f"{artifact.baseline['log_loss']:.4f}" in shown
    assert model.deployments.get().artifact == artifact
    job = model.training_jobs.get()
    assert (job.spec["seed"], job.spec["label"]["horizon_bars"], job.spec["folds"]) == (5, 3, 2)

    picture = tmp_path / "pictures" / "equity.svg"
    call_command("backtest", str(model.pk), *whose, "--start", "2011-01-03", "--picture", str(picture))
    shown = capsys.readouterr().out
    assert "buy and hold" in shown
    assert str(picture) in shown.replace("\n", "")
    assert picture.read_text().startswith("<?xml")
    assert model.backtests.get().result["strategy"].startswith("model")


def test_the_first_command_makes_the_model(user, capsys):
    call_command("backtest", "--user-email", user.email, "--symbols", "IBM", "--strategy", "buy_and_hold")
    model = models.Model.objects.get()
    assert (model.name, model.owner, model.data_source) == ("Shipped bars", user, "shipped")
    assert "final equity" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "--user-email", "nobody@example.com"), "no user nobody"),
        (("train", "--folds", "99"), "folds"),
        (("train", "--symbols", "NOPE"), "NOPE"),
        (("backtest", "--strategy", "model"), "has not been trained"),
        (("backtest", "--start", "2012-01-01", "--end", "2011-01-01"), "before start"),
        (("backtest", "--cash", "a lot"), "opening_cash"),
        (("backtest", "--symbols", "NOPE"), "NOPE"),
        (("backtest", "Typo"), "no model 'Typo'"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(user, arguments, said):
    command, *rest = arguments
    whose = () if "--user-email" in rest else ("--user-email", user.email)
    with pytest.raises(CommandError, match=said):
        call_command(command, *rest, *whose)


def test_a_cancelled_job_is_no_success(user, monkeypatch):
    monkeypatch.setattr(terminal, "ComputeProcess", Here)
    monkeypatch.setattr(Here, "run", lambda self, *work: giving(Cancelled()).run(*work))
    with pytest.raises(CommandError, match="stopped"):
        call_command("train", "--user-email", user.email)
    assert models.TrainingJob.objects.get().status == "FAILED", "nobody asked for it"
