from django.db import migrations

FORWARD = """
CREATE FUNCTION tenants_refuse_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'People are deactivated, never deleted: what they decided in any business names them.';
END $$;
CREATE TRIGGER tenants_user_stays BEFORE DELETE ON tenants_user FOR EACH ROW EXECUTE FUNCTION tenants_refuse_deletion();
"""
BACKWARD = """
DROP TRIGGER tenants_user_stays ON tenants_user;
DROP FUNCTION tenants_refuse_deletion();
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
