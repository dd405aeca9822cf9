from django.apps import AppConfig


class AiStudioConfig(AppConfig):
    name = "apps.ai_studio"
    label = "ai_studio"

    def ready(self) -> None:
        # Importing registers the streams and the notify functions, also where no URL is ever resolved.
        from apps.ai_studio import demo, probes, routing, runner, system_report, system_watch, websocket_utils  # noqa: F401, PLC0415 - models exist now
        from apps.streaming import plugins  # noqa: PLC0415 - as above

        plugins.provide(
            runner=runner.StudioRunner,
            demo=demo.seed,
            probes=probes.probes,
            on_health_change=system_report.publish,
            on_health_look=system_watch.EnginesWatch().look,
        )
