from django.db import migrations

FORWARD = """
CREATE FUNCTION installations_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'installations_consententry is append-only';
END $$;
CREATE TRIGGER installations_consententry_append_only BEFORE UPDATE OR DELETE ON installations_consententry
    FOR EACH ROW EXECUTE FUNCTION installations_refuse_change();
"""
BACKWARD = """
DROP TRIGGER installations_consententry_append_only ON installations_consententry;
DROP FUNCTION installations_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("installations", "0001_initial")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
