from django.contrib import admin

from apps.trading import controls, models


@admin.register(models.Instrument)
class InstrumentAdmin(admin.ModelAdmin):
    list_display = ("symbol", "name", "kind", "lot_size", "expiry", "source")
    list_filter = ("kind", "source", "underlying")
    search_fields = ("symbol", "name")


@admin.register(models.WatchlistItem)
class WatchlistItemAdmin(admin.ModelAdmin):
    list_display = ("user", "instrument")
    search_fields = ("user__email", "instrument__symbol")
    autocomplete_fields = ("user", "instrument")


class ReadOnly:
    """The engine writes these rows from its memory: an edit would be lost, or make an order be filled twice."""

    def has_add_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


class PositionInline(ReadOnly, admin.TabularInline):
    model = models.Position
    fields = ("symbol", "quantity", "cost", "last_price", "realised_pnl", "charges")


class RiskLimitsInline(admin.StackedInline):
    model = models.RiskLimits


@admin.register(models.Account)
class AccountAdmin(admin.ModelAdmin):
    list_display = ("user", "cash", "opening_cash", "day", "day_start_value", "auto_trade", "kill_switch")
    list_filter = ("auto_trade", "kill_switch", "brokerage_plan")
    search_fields = ("user__email",)
    autocomplete_fields = ("user",)
    # The engine holds the books in memory and writes them: here they are to be read.
    readonly_fields = (
        "cash",
        "day",
        "day_start_value",
        "peak_value",
        "max_drawdown",
        "trade_count",
        "win_count",
        "loss_count",
        "gross_profit",
        "gross_loss",
        "margin_blocked",
        "sharpe",
        "risk_state",
        "reset_requested",
        "controls_changed",
    )
    inlines = (RiskLimitsInline, PositionInline)

    def get_readonly_fields(self, request, obj=None):
        return self.readonly_fields if obj is None else (*self.readonly_fields, "opening_cash", "user")

    def save_model(self, request, obj, form, change):
        if change:  # and nothing that was only shown
            obj.save(update_fields=form.changed_data)
        else:
            obj.cash = obj.day_start_value = obj.peak_value = obj.opening_cash
            obj.save()

    def save_related(self, request, form, formsets, change):
        super().save_related(request, form, formsets, change)
        controls.changed(form.instance.pk)


class ExecutionInline(ReadOnly, admin.TabularInline):
    model = models.Execution
    fields = ("quantity", "price", "charges", "realised_pnl", "error", "executed_at")


@admin.register(models.Order)
class OrderAdmin(ReadOnly, admin.ModelAdmin):
    list_display = (
        "created_at",
        "account",
        "side",
        "quantity",
        "symbol",
        "order_type",
        "filled_quantity",
        "status",
        "reason",
    )
    list_filter = ("status", "side", "order_type", "product")
    search_fields = ("symbol", "client_order_id", "account__user__email")
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


@admin.register(models.DailyVolatility)
class DailyVolatilityAdmin(admin.ModelAdmin):
    list_display = ("underlying", "day", "atm_iv")
    list_filter = ("underlying",)


@admin.register(models.Headline)
class HeadlineAdmin(admin.ModelAdmin):
    list_display = ("published_at", "title", "source", "symbols")
    search_fields = ("title",)
    date_hierarchy = "published_at"
