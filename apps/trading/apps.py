from django.apps import AppConfig


class TradingConfig(AppConfig):
    name = "apps.trading"
    label = "trading"

    def ready(self) -> None:
        # Importing registers the streams and the notify functions, also where no URL is ever resolved.
        from apps.streaming import plugins  # noqa: PLC0415 - as above
        from apps.trading import demo, probes, routing, runner, websocket_utils  # noqa: F401, PLC0415 - models exist now

        plugins.provide(runner=runner.TradingRunner, demo=demo.seed, probes=probes.probes)
