"""`manage.py train`: train a model from the terminal."""

from __future__ import annotations

from typing import Any, get_args

from django.core.management import BaseCommand
from django.core.management.base import CommandParser
from rich.console import Console
from rich.table import Table

from apps.ai_studio import deployments, models, services, terminal
from apps.streaming.feeds import shipped_bars_path
from engines.learning.spec import Algorithm

LABELS = ("direction", "triple_barrier")
SHOWN = (
    ("log_loss", "log-loss"),
    ("auc", "AUC"),
    ("accuracy", "accuracy"),
    ("brier", "Brier score"),
    ("calibration_error", "calibration error"),
)


class Command(BaseCommand):
    help = (
        "Train a model and see how well it does on bars that it has not seen. A new one is trained on the daily bars "
        "that come with the project. For example: manage.py train; manage.py train 'Barriers' --label triple_barrier"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        terminal.add_model_arguments(parser)
        parser.add_argument("--symbols", metavar="A,B", help="what it looks at (default: all there are)")
        parser.add_argument("--algorithm", choices=get_args(Algorithm), help="default: lightgbm")
        parser.add_argument("--label", choices=LABELS, help="what it predicts (default: direction)")
        parser.add_argument("--horizon", type=int, metavar="BARS", help="how far ahead (default: 5)")
        parser.add_argument("--folds", type=int, help="of the walk-forward validation (default: 4)")
        parser.add_argument("--deploy", action="store_true", help="let the new version predict")

    def handle(self, **options: Any) -> None:
        console = Console(file=self.stdout._out)
        owner = terminal.owner_of(options)
        model = terminal.model_or_new(owner, options["model"], self._changes(owner, options))
        job = terminal.start(lambda: services.start_training(model, options["seed"]))
        source = shipped_bars_path().name if model.data_source == models.DataSource.SHIPPED else "the stored market"
        console.print(f"Training {model.name!r} of {owner.email} on {source}; job {job.pk}")
        terminal.run_here(console, job, _words)
        artifact = model.artifacts.get(version=job.result["version"])
        console.print(_table(artifact))
        if options["deploy"]:
            deployments.deploy(model, artifact.version)
            console.print(f"Version {artifact.version} is deployed: it predicts on each closed bar of a live market")

    def _changes(self, owner: Any, options: dict[str, Any]) -> dict[str, Any]:
        known = terminal.find_model(owner, options["model"])
        training = dict(known.training) if known else {}
        for name in ("algorithm", "folds"):
            if options[name] is not None:
                training[name] = options[name]
        for name, key in (("label", "kind"), ("horizon", "horizon_bars")):
            if options[name] is not None:
                training["label"] = {**training.get("label", {}), key: options[name]}
        changes: dict[str, Any] = {"training": training}
        if options["symbols"]:
            changes["symbols"] = [symbol.strip().upper() for symbol in options["symbols"].split(",") if symbol.strip()]
        return changes


def _words(progress: Any) -> str:
    words = str(progress["current_step"])
    if progress.get("fold"):
        words += f" · fold {progress['fold']}/{progress['folds']} · iteration {progress['iteration']}"
    loss = progress.get("metrics", {}).get("validation_log_loss")
    return words if loss is None else f"{words} · validation log-loss {loss:.4f}"


def _table(artifact: models.Artifact) -> Table:
    span = f"{artifact.data_from:%Y-%m-%d} to {artifact.data_until:%Y-%m-%d}"
    table = Table(
        title=f"{artifact.model.name} v{artifact.version}: out of sample",
        caption=f"{artifact.rows:,} rows, {span}; artifact {artifact.digest[:12]}",
    )
    table.add_column("measure")
    table.add_column("model", justify="right")
    table.add_column("baseline", justify="right")
    table.add_column("knows nothing", justify="right")
    nothing = {
        "log_loss": artifact.metrics.get("base_log_loss"),
        "accuracy": artifact.metrics.get("base_accuracy"),
        "auc": 0.5,
    }
    for key, name in SHOWN:
        table.add_row(name, *(_number(row.get(key)) for row in (artifact.metrics, artifact.baseline, nothing)))
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
