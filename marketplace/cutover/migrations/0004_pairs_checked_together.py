import django.db.models.deletion
from django.db import migrations, models

# What is deleted while a comparison is writing is seen by one of the two: whoever comes second waits, and looks then.
FORWARD = """
CREATE FUNCTION cutover_pair_refers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    lost bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared('cutover_pair'::regclass::oid::int, 0);
    SELECT (SELECT count(*) FROM written WHERE posting_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM posting_posting WHERE id = written.posting_id))
        + (SELECT count(*) FROM written WHERE entry_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM sync_record WHERE id = written.entry_id))
        + (SELECT count(*) FROM written WHERE NOT EXISTS (SELECT FROM mapping_flow WHERE id = written.flow_id))
    INTO lost;
    IF lost > 0 THEN
        RAISE foreign_key_violation USING MESSAGE = format('%s pairs refer to what is not there', lost);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION cutover_pair_is_referred() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    lost bigint;
BEGIN
    PERFORM pg_advisory_xact_lock('cutover_pair'::regclass::oid::int, 0);
    EXECUTE format('SELECT count(*) FROM gone JOIN cutover_pair ON cutover_pair.%I = gone.id', TG_ARGV[0]) INTO lost;
    IF lost > 0 THEN
        RAISE foreign_key_violation USING MESSAGE = format('%s pairs still refer to %s', lost, TG_TABLE_NAME);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER cutover_pair_refers AFTER INSERT ON cutover_pair REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION cutover_pair_refers();
CREATE TRIGGER cutover_pair_still_refers AFTER UPDATE ON cutover_pair REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION cutover_pair_refers();
CREATE TRIGGER cutover_pair_has_posting AFTER DELETE ON posting_posting REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION cutover_pair_is_referred('posting_id');
CREATE TRIGGER cutover_pair_has_entry AFTER DELETE ON sync_record REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION cutover_pair_is_referred('entry_id');
CREATE TRIGGER cutover_pair_has_flow AFTER DELETE ON mapping_flow REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION cutover_pair_is_referred('flow_id');
"""
BACKWARD = """
DROP TRIGGER cutover_pair_has_flow ON mapping_flow;
DROP TRIGGER cutover_pair_has_entry ON sync_record;
DROP TRIGGER cutover_pair_has_posting ON posting_posting;
DROP TRIGGER cutover_pair_still_refers ON cutover_pair;
DROP TRIGGER cutover_pair_refers ON cutover_pair;
DROP FUNCTION cutover_pair_is_referred();
DROP FUNCTION cutover_pair_refers();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('cutover', '0003_people_without_constraint'),
        ('mapping', '0001_initial'),
        ('posting', '0009_people_without_constraint'),
        ('sync', '0005_newest_first'),
    ]

    operations = [
        migrations.AlterField(
            model_name='pair',
            name='entry',
            field=models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='pairs', to='sync.record'),
        ),
        migrations.AlterField(
            model_name='pair',
            name='flow',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='pairs', to='mapping.flow'),
        ),
        migrations.AlterField(
            model_name='pair',
            name='posting',
            field=models.OneToOneField(db_constraint=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='pair', to='posting.posting'),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
