"""The ready ring gets a row per tenant and lane. It starts empty: the first tick gives everybody with due work a turn."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('core', '0002_work_holder'),
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.DeleteModel(name='TenantTurn'),
        migrations.CreateModel(
            name='TenantTurn',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('is_long', models.BooleanField()),
                ('ready_at', models.DateTimeField(null=True)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'indexes': [models.Index(fields=['is_long', 'ready_at'], name='turn_ready')],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'is_long'), name='turn_is_unique')],
            },
        ),
        migrations.AddField(
            model_name='workitem',
            name='is_long',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddIndex(
            model_name='workitem',
            index=models.Index(fields=['tenant', 'is_long', 'due_at', 'id'], name='work_of_tenant'),
        ),
    ]
