import nh3
from django.db import migrations, models
from django.utils import timezone

REVIEW_TAGS = {"b", "i", "em", "strong", "p", "br", "ul", "ol", "li"}
MAX_SANITISED = 4_000


def sanitise_reviews(apps, schema_editor):
    """Reviews of the first slice were kept as they came."""
    for review in apps.get_model("ai_studio", "Review").objects.exclude(text="").iterator():
        text = _sanitised(review.text, REVIEW_TAGS)
        if len(text) > MAX_SANITISED:
            text = _sanitised(review.text, set())[:MAX_SANITISED]
        if text != review.text:
            review.text = text
            review.save(update_fields=["text"])


def _sanitised(text, tags):
    return nh3.clean(text.replace("\x00", ""), tags=tags, attributes={}, strip_comments=True, link_rel=None)


def withdraw_what_predicts_nothing(apps, schema_editor):
    """Models of the first slice are to be trained again: until then there is nothing to lease."""
    offered = apps.get_model("ai_studio", "Listing").objects.filter(withdrawn_at=None)
    offered.filter(model__version=0).update(withdrawn_at=timezone.now())


def give_leases_one_of_two_terms(apps, schema_editor):
    """The admin let leases be made without terms, and with both: then the price counted."""
    leases = apps.get_model("ai_studio", "Lease").objects
    share = models.Q(price=None, profit_share_percent__gt=0, capital__gt=0)
    leases.exclude(share).update(profit_share_percent=None, capital=None)
    leases.filter(price=None, profit_share_percent=None).update(price=0)
    leases.filter(price__lt=0).update(price=0)


def give_payments_first_days(apps, schema_editor):
    payments = apps.get_model("ai_studio", "Payment").objects
    for payment in payments.exclude(period__day=1):
        payment.period = payment.period.replace(day=1)
        payment.save(update_fields=["period"])


class Migration(migrations.Migration):
    """The rows only: PostgreSQL alters no table whose rows were changed twice in the same transaction."""

    dependencies = [("ai_studio", "0003_real_models_and_marketplace")]

    operations = [
        migrations.RemoveConstraint(model_name="payment", name="lease_paid_once_per_period"),
        migrations.RunPython(sanitise_reviews, migrations.RunPython.noop),
        migrations.RunPython(withdraw_what_predicts_nothing, migrations.RunPython.noop),
        migrations.RunPython(give_leases_one_of_two_terms, migrations.RunPython.noop),
        migrations.RunPython(give_payments_first_days, migrations.RunPython.noop),
    ]
