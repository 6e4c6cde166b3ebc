from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('posting', '0009_people_without_constraint'),
    ]

    operations = [
        migrations.AddField(
            model_name='reversalline',
            name='base_movements',
            field=models.JSONField(default=dict),
        ),
    ]
