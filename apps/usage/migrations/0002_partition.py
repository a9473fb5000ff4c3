"""Usage records partitioned by RANGE(request_id) on PostgreSQL."""

from django.db import migrations

PARTITION = """
ALTER TABLE usage_usagerecord RENAME TO usage_usagerecord_plain;
CREATE TABLE usage_usagerecord (LIKE usage_usagerecord_plain INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (request_id);
DROP TABLE usage_usagerecord_plain;
ALTER TABLE usage_usagerecord ADD PRIMARY KEY (account_id, request_id);
CREATE INDEX usage_by_request ON usage_usagerecord (request_id);
CREATE TABLE usage_usagerecord_default PARTITION OF usage_usagerecord DEFAULT;
"""


def forwards(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(PARTITION)


class Migration(migrations.Migration):
    dependencies = [("usage", "0001_initial")]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
