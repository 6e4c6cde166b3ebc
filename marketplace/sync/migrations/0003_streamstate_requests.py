from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sync", "0002_change_is_drift")]

    operations = [
        migrations.AddField(
            model_name="streamstate",
            name="requests",
            field=models.BigIntegerField(null=True),
        ),
    ]
