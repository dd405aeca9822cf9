from decimal import Decimal

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ai_studio", "0004_mended_rows"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="lease",
            name="settled_until",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="lease",
            name="shares",
            field=models.JSONField(blank=True, default=dict, editable=False),
        ),
        migrations.AddField(
            model_name="listing",
            name="announced_at",
            field=models.DateTimeField(blank=True, editable=False, help_text="To everyone, the last time.", null=True),
        ),
        migrations.AlterField(
            model_name="deployment",
            name="artifact",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.RESTRICT, related_name="deployments", to="ai_studio.artifact"
            ),
        ),
        migrations.AlterField(
            model_name="lease",
            name="lessee",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="leases",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AlterField(
            model_name="lease",
            name="listing",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="leases", to="ai_studio.listing"
            ),
        ),
        migrations.AlterField(
            model_name="listing",
            name="price_per_month",
            field=models.DecimalField(
                blank=True,
                decimal_places=2,
                max_digits=12,
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(Decimal(0)),
                    django.core.validators.MaxValueValidator(Decimal(10_000_000)),
                ],
            ),
        ),
        migrations.AlterField(
            model_name="model",
            name="training",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="A `TrainingSpec` (engines/learning/spec.py); what is left out, by default.",
            ),
        ),
        migrations.AlterField(
            model_name="payment",
            name="lease",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="payments", to="ai_studio.lease"
            ),
        ),
        migrations.AlterField(
            model_name="prediction",
            name="latency_ms",
            field=models.FloatField(
                default=0.0, help_text="From the arrival of the closed bar to just before the write."
            ),
        ),
        migrations.AddConstraint(
            model_name="lease",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    price__isnull=False, price__gte=0, profit_share_percent__isnull=True, capital__isnull=True
                )
                | models.Q(
                    price__isnull=True,
                    profit_share_percent__isnull=False,
                    profit_share_percent__gt=0,
                    capital__isnull=False,
                    capital__gt=0,
                ),
                name="lease_price_or_share",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(condition=models.Q(period__day=1), name="payment_for_a_month"),
        ),
    ]
