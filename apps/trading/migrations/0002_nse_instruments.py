"""The simulated market's instruments, so that symbols are known before any feed has run."""

from django.db import migrations

from engines.market.instruments import NSE_UNIVERSE


def add(apps, schema_editor):
    instrument = apps.get_model("trading", "Instrument")
    instrument.objects.bulk_create(
        [instrument(symbol=i.symbol, name=i.name, kind=i.kind, source="simulated") for i in NSE_UNIVERSE],
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("trading", "0001_initial")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
