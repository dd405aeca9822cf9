from django.contrib import admin

from apps.ai_studio import marketplace, models


class Kept(admin.ModelAdmin):
    """What the server writes: looked at here, and changed by nobody."""

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False


class KeptInline(admin.TabularInline):
    extra = 0
    can_delete = False

    def has_add_permission(self, request, obj=None):
        return False


class ArtifactInline(KeptInline):
    model = models.Artifact
    fields = readonly_fields = ("version", "digest", "rows", "data_from", "data_until", "metrics", "created_at")

    def get_queryset(self, request):
        return super().get_queryset(request).defer("content")


@admin.register(models.Model)
class ModelAdmin(admin.ModelAdmin):
    list_display = ("name", "owner", "version", "data_source", "bar_seconds", "rerun_seconds", "created_at")
    list_filter = ("data_source", "auto_deploy")
    search_fields = ("name", "owner__email")
    # Checked where they hang together, which is in `services.save_model`.
    readonly_fields = ("owner", "version", "symbols", "data_source", "bar_seconds", "training")
    inlines = (ArtifactInline,)

    def has_add_permission(self, request):
        return False


@admin.register(models.Deployment)
class DeploymentAdmin(Kept):
    list_display = ("model", "artifact", "started_at", "ended_at")
    list_filter = (("ended_at", admin.EmptyFieldListFilter),)
    search_fields = ("model__name", "model__owner__email")
    date_hierarchy = "started_at"
    fields = ("model", "artifact", "started_at", "ended_at", "monitoring")


@admin.register(models.TrainingJob, models.Backtest)
class JobAdmin(Kept):
    list_display = ("created_at", "model", "status", "worker", "error", "not_before", "finished_at")
    list_filter = ("status",)
    search_fields = ("model__name", "model__owner__email", "worker")
    date_hierarchy = "created_at"


@admin.register(models.Prediction)
class PredictionAdmin(Kept):
    list_display = ("created_at", "model", "symbol", "direction", "probability", "price", "outcome_price", "correct")
    list_filter = ("direction", "correct")
    search_fields = ("symbol", "model__name")
    date_hierarchy = "created_at"


class LeaseInline(KeptInline):
    model = models.Lease
    fields = readonly_fields = ("lessee", "starts_at", "ends_at", "price", "profit_share_percent", "capital")


class ReviewInline(KeptInline):
    model = models.Review
    fields = readonly_fields = ("author", "rating", "text", "created_at")


@admin.register(models.Listing)
class ListingAdmin(admin.ModelAdmin):
    list_display = ("title", "model", "price_per_month", "profit_share_percent", "published_at", "withdrawn_at")
    search_fields = ("title", "model__name")
    readonly_fields = ("model", "price_per_month", "profit_share_percent", "published_at", "withdrawn_at")
    inlines = (LeaseInline, ReviewInline)
    actions = ("withdraw",)

    def has_add_permission(self, request):
        return False  # offered by the owner, see `marketplace.publish_listing`

    @admin.action(description="Withdraw the selected listings", permissions=("change",))
    def withdraw(self, request, listings):
        for listing in listings.filter(withdrawn_at=None).select_related("model"):
            marketplace.withdraw_listing(listing.model)


class PaymentInline(KeptInline):
    model = models.Payment
    fields = readonly_fields = ("period", "amount", "reference", "paid_at")


@admin.register(models.Lease)
class LeaseAdmin(Kept):
    list_display = ("listing", "lessee", "starts_at", "ends_at", "price", "profit_share_percent")
    search_fields = ("listing__title", "lessee__email")
    date_hierarchy = "starts_at"
    inlines = (PaymentInline,)


@admin.register(models.Payment)
class PaymentAdmin(Kept):
    """A wrong one is deleted here, and recorded anew by the owner."""

    list_display = ("paid_at", "lease", "period", "amount", "reference")
    search_fields = ("reference", "lease__listing__title", "lease__lessee__email")
    date_hierarchy = "paid_at"


@admin.register(models.Review)
class ReviewAdmin(Kept):
    list_display = ("created_at", "listing", "author", "rating", "text")
    list_filter = ("rating",)
    search_fields = ("listing__title", "author__email", "text")
    date_hierarchy = "created_at"
