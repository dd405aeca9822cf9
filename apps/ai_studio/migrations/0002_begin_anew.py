from django.db import migrations, models


def begin_anew(apps, schema_editor):
    """Models of the first slice were other numbers: they are to be trained again, and those that were deployed will be
    with their first version. Their predictions end with them."""
    model_class, prediction_class = (apps.get_model("ai_studio", name) for name in ("Model", "Prediction"))
    prediction_class.objects.all().delete()
    model_class.objects.update(
        version=0, predictions_made=0, predictions_settled=0, predictions_correct=0, auto_deploy=models.F("deployed")
    )
    seen = set()
    for model in model_class.objects.order_by("created_at"):
        if (model.owner_id, model.name) in seen:
            model.name = f"{model.name[:70]} {str(model.pk)[:8]}"
            model.save(update_fields=["name"])
        seen.add((model.owner_id, model.name))


class Migration(migrations.Migration):
    dependencies = [("ai_studio", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="model",
            name="auto_deploy",
            field=models.BooleanField(default=False, help_text="Deploy each new version at once."),
        ),
        migrations.RunPython(begin_anew, migrations.RunPython.noop),
    ]
