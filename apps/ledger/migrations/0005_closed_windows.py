"""The history of budget windows; and the days' counts of what the house absorbed before there were any."""

from collections import defaultdict

import apps.core.ids
from django.db import migrations, models


def count_absorbed(apps, schema_editor):
    days = defaultdict(int)
    for entry in apps.get_model("ledger", "Entry").objects.filter(kind="absorbed").iterator():
        day = entry.created_at.replace(hour=0, minute=0, second=0, microsecond=0)
        days[entry.account_id, day] += entry.amount_micro
    apps.get_model("ledger", "BudgetWindow").objects.bulk_create(
        apps.get_model("ledger", "BudgetWindow")(
            account_id=account_id,
            scope="absorbed",
            period="daily",
            starts_at=day,
            spent_micro=min(amount_micro, 2**53 - 1),
            held_micro=0,
        )
        for (account_id, day), amount_micro in days.items()
    )


class Migration(migrations.Migration):

    dependencies = [
        ('ledger', '0004_idempotency_keys'),
    ]

    operations = [
        migrations.AlterField(
            model_name='budgetwindow',
            name='scope',
            field=models.CharField(help_text='`account`, `key:ID`, `key:ID:MODEL`; or `absorbed`.', max_length=150),
        ),
        migrations.CreateModel(
            name='ClosedWindow',
            fields=[
                ('id', models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('account_id', models.UUIDField()),
                ('scope', models.CharField(max_length=150)),
                ('period', models.CharField(choices=[('lifetime', 'Lifetime'), ('daily', 'Daily'), ('hourly', 'Hourly')], max_length=10)),
                ('starts_at', models.DateTimeField()),
                ('spent_micro', models.BigIntegerField()),
                ('closed_at', models.DateTimeField()),
            ],
            options={
                'ordering': ['account_id', '-starts_at'],
                'constraints': [models.UniqueConstraint(fields=('account_id', 'scope', 'period', 'starts_at'), name='closed_window_once'), models.CheckConstraint(condition=models.Q(('spent_micro__gte', 0), ('spent_micro__lte', 9007199254740991)), name='closed_window_in_bounds')],
            },
        ),
        migrations.RunPython(count_absorbed, migrations.RunPython.noop),
    ]
