"""Entries partitioned by RANGE(operation_id) on PostgreSQL, and immutable on both backends."""

from django.db import migrations

from apps.ledger.immutability import install

PARTITION = """
ALTER TABLE ledger_entry RENAME TO ledger_entry_plain;
CREATE TABLE ledger_entry (LIKE ledger_entry_plain INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (operation_id);
DROP TABLE ledger_entry_plain;
ALTER TABLE ledger_entry
    ADD CONSTRAINT entry_once_per_operation PRIMARY KEY (account_id, operation_id, kind);
CREATE INDEX entry_by_account ON ledger_entry (account_id, seq DESC);
CREATE INDEX entry_by_reference ON ledger_entry (account_id, reference) WHERE NOT (reference = '');
CREATE INDEX entry_by_id ON ledger_entry (id);
CREATE TABLE ledger_entry_default PARTITION OF ledger_entry DEFAULT;
"""


def forwards(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(PARTITION)
    install(connection)


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_initial")]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
