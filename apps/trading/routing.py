"""`/ws/trading/…`"""

from apps.streaming.registry import stream_url
from apps.trading import consumers

websocket_urlpatterns = [
    stream_url(consumers.TradingSignalsConsumer),
    stream_url(consumers.PortfolioUpdatesConsumer),
    stream_url(consumers.TradeExecutionConsumer),
    stream_url(consumers.MarketSentimentConsumer),
    stream_url(consumers.RiskAlertsConsumer),
    stream_url(consumers.LivePnLConsumer),
    stream_url(consumers.FnOUpdatesConsumer),
]
