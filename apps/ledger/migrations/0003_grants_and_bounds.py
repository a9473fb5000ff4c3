"""Grants with what remains of them, what accounts owe, and a bound for every amount.

Credits granted before this migration have no row in the new table: they stay, as paid ones do.
"""

from django.db import migrations, models

from apps.ledger.immutability import install


def protect_again(apps, schema_editor):
    """SQLite makes a table anew to change it, and its triggers are gone with the old one."""
    install(schema_editor.connection)


class Migration(migrations.Migration):

    dependencies = [
        ('ledger', '0002_partition_and_protect'),
    ]

    operations = [
        migrations.CreateModel(
            name='Grant',
            fields=[
                ('id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('account_id', models.UUIDField()),
                ('amount_micro', models.BigIntegerField()),
                ('remaining_micro', models.BigIntegerField()),
                ('priority', models.PositiveSmallIntegerField(default=0, help_text='Lower ones are used first.')),
                ('expires_at', models.DateTimeField(null=True)),
                ('created_at', models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name='balance',
            name='moved_at',
            field=models.DateTimeField(help_text='When the newest entry was made.', null=True),
        ),
        migrations.AddField(
            model_name='balance',
            name='owed_micro',
            field=models.BigIntegerField(db_default=0, default=0, help_text='Reversed payments whose credits were spent: later top-ups pay them first.'),
        ),
        migrations.AddField(
            model_name='entry',
            name='granted_micro',
            field=models.BigIntegerField(db_default=0, default=0, help_text='What of the amount is credits that nobody paid for.'),
        ),
        migrations.AddField(
            model_name='entry',
            name='subject_id',
            field=models.UUIDField(null=True),
        ),
        migrations.AlterField(
            model_name='entry',
            name='kind',
            field=models.CharField(choices=[('top_up', 'Top Up'), ('grant', 'Grant'), ('expiry', 'Expiry'), ('charge', 'Charge'), ('compensation', 'Compensation'), ('refund', 'Refund'), ('claw_back', 'Claw Back'), ('owed', 'Owed'), ('repayment', 'Repayment'), ('correction', 'Correction'), ('absorbed', 'Absorbed')], max_length=12),
        ),
        migrations.AddIndex(
            model_name='entry',
            index=models.Index(condition=models.Q(('subject_id', None), _negated=True), fields=['account_id', 'subject_id'], name='entry_by_subject'),
        ),
        migrations.AddConstraint(
            model_name='balance',
            constraint=models.CheckConstraint(condition=models.Q(('balance_micro__lte', 9007199254740991), ('owed_micro__gte', 0), ('owed_micro__lte', 9007199254740991), ('seq__gte', 0)), name='balance_in_bounds'),
        ),
        migrations.AddConstraint(
            model_name='budgetwindow',
            constraint=models.CheckConstraint(condition=models.Q(('held_micro__lte', 9007199254740991), ('spent_micro__lte', 9007199254740991)), name='window_in_bounds'),
        ),
        migrations.AddConstraint(
            model_name='entry',
            constraint=models.CheckConstraint(condition=models.Q(('amount_micro__lte', 9007199254740991), ('balance_after_micro__lte', 9007199254740991), ('balance_before_micro__lte', 9007199254740991), ('granted_micro__gte', 0), ('granted_micro__lte', models.F('amount_micro'))), name='entry_in_bounds'),
        ),
        migrations.AddConstraint(
            model_name='hold',
            constraint=models.CheckConstraint(condition=models.Q(('amount_micro__lte', 9007199254740991)), name='hold_in_bounds'),
        ),
        migrations.AddIndex(
            model_name='grant',
            index=models.Index(condition=models.Q(('remaining_micro__gt', 0)), fields=['account_id'], name='grant_by_account'),
        ),
        migrations.AddIndex(
            model_name='grant',
            index=models.Index(condition=models.Q(('remaining_micro__gt', 0)), fields=['expires_at'], name='grant_by_expiry'),
        ),
        migrations.AddConstraint(
            model_name='grant',
            constraint=models.CheckConstraint(condition=models.Q(('amount_micro__gt', 0), ('amount_micro__lte', 9007199254740991), ('remaining_micro__gte', 0), ('remaining_micro__lte', models.F('amount_micro'))), name='grant_in_bounds'),
        ),
        migrations.RunPython(protect_again, migrations.RunPython.noop),
    ]
