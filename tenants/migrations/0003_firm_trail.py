import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

FORWARD = """
CREATE FUNCTION tenants_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'tenants_firmentry is append-only';
END $$;
CREATE TRIGGER tenants_firmentry_append_only BEFORE UPDATE OR DELETE ON tenants_firmentry
    FOR EACH ROW EXECUTE FUNCTION tenants_refuse_change();
"""
BACKWARD = """
DROP TRIGGER tenants_firmentry_append_only ON tenants_firmentry;
DROP FUNCTION tenants_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0002_people_stay")]

    operations = [
        migrations.CreateModel(
            name="FirmEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sequence", models.BigIntegerField()),
                ("at", models.DateTimeField()),
                ("actor", models.CharField(max_length=200)),
                ("action", models.CharField(max_length=40)),
                ("tenant_id", models.UUIDField(null=True)),
                ("client", models.CharField(blank=True, max_length=200)),
                ("summary", models.TextField()),
                ("previous_digest", models.CharField(max_length=64)),
                ("digest", models.CharField(max_length=64)),
                (
                    "firm",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="entries", to="tenants.firm"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "ordering": ["-sequence"],
                "constraints": [models.UniqueConstraint(fields=("firm", "sequence"), name="firm_entry_once")],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
