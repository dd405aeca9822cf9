from django.contrib import admin

from apps.ai_studio import models


@admin.register(models.Model)
class ModelAdmin(admin.ModelAdmin):
    list_display = ("name", "owner", "deployed", "version", "rerun_seconds", "created_at")
    list_filter = ("deployed",)
    search_fields = ("name", "owner__email")
    autocomplete_fields = ("owner",)
    readonly_fields = ("version", "artifact", "monitoring")


@admin.register(models.TrainingJob, models.Backtest)
class JobAdmin(admin.ModelAdmin):
    list_display = ("created_at", "model", "status", "error", "not_before", "finished_at")
    list_filter = ("status",)
    search_fields = ("model__name", "model__owner__email")
    date_hierarchy = "created_at"
    readonly_fields = ("progress", "result", "finished_at")


@admin.register(models.Prediction)
class PredictionAdmin(admin.ModelAdmin):
    list_display = ("created_at", "model", "symbol", "direction", "probability", "price", "outcome_price", "correct")
    list_filter = ("direction", "correct")
    search_fields = ("symbol", "model__name")
    date_hierarchy = "created_at"


class LeaseInline(admin.TabularInline):
    model = models.Lease
    extra = 0
    autocomplete_fields = ("lessee",)


class ReviewInline(admin.TabularInline):
    model = models.Review
    extra = 0
    autocomplete_fields = ("author",)


@admin.register(models.Listing)
class ListingAdmin(admin.ModelAdmin):
    list_display = ("title", "model", "price_per_month", "published_at")
    search_fields = ("title", "model__name")
    autocomplete_fields = ("model",)
    inlines = (LeaseInline, ReviewInline)
