"""Partitions are made by a function of the tables' owner: whoever serves need not own them."""

from django.db import migrations

FUNCTION = """
CREATE OR REPLACE FUNCTION hypereal_make_partition(parent text, name text, low uuid, high uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF parent NOT IN ('ledger_entry', 'usage_usagerecord') OR name !~ ('^' || parent || '_[0-9]{4}_[0-9]{2}$') THEN
        RAISE EXCEPTION '% is no partition of ours', name;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name, low, high);
END $$;
REVOKE ALL ON FUNCTION hypereal_make_partition(text, text, uuid, uuid) FROM PUBLIC;
"""


def forwards(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(FUNCTION)


class Migration(migrations.Migration):
    dependencies = [("ledger", "0005_closed_windows")]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
