"""The seven AI Studio consumers."""

from apps.ai_studio import streams
from apps.streaming.consumer import StreamConsumer


class ModelTrainingConsumer(StreamConsumer):
    stream_class = streams.TrainingStream


class ModelMonitoringConsumer(StreamConsumer):
    stream_class = streams.MonitoringStream


class StudioDashboardConsumer(StreamConsumer):
    stream_class = streams.DashboardStream


class MarketplaceNotificationsConsumer(StreamConsumer):
    stream_class = streams.MarketplaceStream


class ModelPredictionsConsumer(StreamConsumer):
    stream_class = streams.PredictionsStream


class BacktestProgressConsumer(StreamConsumer):
    stream_class = streams.BacktestStream


class SystemHealthConsumer(StreamConsumer):
    stream_class = streams.SystemStream
