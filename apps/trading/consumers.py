"""The seven trading consumers."""

from apps.streaming.consumer import StreamConsumer
from apps.trading import streams


class TradingSignalsConsumer(StreamConsumer):
    stream_class = streams.SignalsStream


class PortfolioUpdatesConsumer(StreamConsumer):
    stream_class = streams.PortfolioStream


class TradeExecutionConsumer(StreamConsumer):
    stream_class = streams.ExecutionsStream


class MarketSentimentConsumer(StreamConsumer):
    stream_class = streams.SentimentStream


class RiskAlertsConsumer(StreamConsumer):
    stream_class = streams.RiskAlertsStream


class LivePnLConsumer(StreamConsumer):
    stream_class = streams.PnlStream


class FnOUpdatesConsumer(StreamConsumer):
    stream_class = streams.FnoStream
