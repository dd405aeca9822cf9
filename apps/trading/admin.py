from django.contrib import admin

from apps.trading import models


@admin.register(models.Instrument)
class InstrumentAdmin(admin.ModelAdmin):
    list_display = ("symbol", "name", "kind", "source")
    list_filter = ("kind", "source")
    search_fields = ("symbol", "name")


@admin.register(models.WatchlistItem)
class WatchlistItemAdmin(admin.ModelAdmin):
    list_display = ("user", "instrument")
    search_fields = ("user__email", "instrument__symbol")
    autocomplete_fields = ("user", "instrument")


class PositionInline(admin.TabularInline):
    model = models.Position
    extra = 0


class OptionPositionInline(admin.TabularInline):
    model = models.OptionPosition
    extra = 0


@admin.register(models.Account)
class AccountAdmin(admin.ModelAdmin):
    list_display = ("user", "cash", "opening_cash", "day", "day_start_value", "auto_trade")
    list_filter = ("auto_trade",)
    search_fields = ("user__email",)
    autocomplete_fields = ("user",)
    inlines = (PositionInline, OptionPositionInline)


class ExecutionInline(admin.TabularInline):
    model = models.Execution
    extra = 0
    readonly_fields = ("quantity", "price", "error", "executed_at")


@admin.register(models.Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("created_at", "account", "side", "quantity", "symbol", "status", "reason")
    list_filter = ("status", "side")
    search_fields = ("symbol", "account__user__email")
    date_hierarchy = "created_at"
    inlines = (ExecutionInline,)


@admin.register(models.Signal)
class SignalAdmin(admin.ModelAdmin):
    list_display = ("created_at", "symbol", "signal_type", "status", "confidence_score", "entry_price", "user")
    list_filter = ("status", "signal_type", "strategy")
    search_fields = ("symbol", "user__email")
    date_hierarchy = "created_at"


@admin.register(models.RiskAlert)
class RiskAlertAdmin(admin.ModelAdmin):
    list_display = ("created_at", "user", "severity", "rule", "symbol", "message", "acknowledged_at")
    list_filter = ("severity", "rule")
    search_fields = ("user__email", "symbol")
    date_hierarchy = "created_at"


@admin.register(models.Sentiment)
class SentimentAdmin(admin.ModelAdmin):
    list_display = ("scope", "score", "updated_at")


@admin.register(models.OptionChain)
class OptionChainAdmin(admin.ModelAdmin):
    list_display = ("underlying", "expiry", "updated_at")
