"""`/ws/ai-studio/…`"""

from apps.ai_studio import consumers
from apps.streaming.registry import stream_url

websocket_urlpatterns = [
    stream_url(consumers.ModelTrainingConsumer),
    stream_url(consumers.ModelMonitoringConsumer),
    stream_url(consumers.StudioDashboardConsumer),
    stream_url(consumers.MarketplaceNotificationsConsumer),
    stream_url(consumers.ModelPredictionsConsumer),
    stream_url(consumers.BacktestProgressConsumer),
    stream_url(consumers.SystemHealthConsumer),
]
