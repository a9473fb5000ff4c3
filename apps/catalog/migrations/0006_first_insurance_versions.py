"""What policies promise already becomes each model's first version."""

from django.db import migrations
from django.utils.timezone import now

from apps.core.ids import new_id


def forwards(apps, schema_editor):
    InsuranceVersion = apps.get_model("catalog", "InsuranceVersion")
    moment = now()
    InsuranceVersion.objects.bulk_create(
        InsuranceVersion(
            id=new_id(),
            model_id=policy.model_id,
            version=1,
            effective_at=moment,
            threshold_ms=policy.insurance_threshold_ms,
            percent=policy.insurance_percent,
            ms_per_output_token=policy.insurance_ms_per_output_token,
        )
        for policy in apps.get_model("catalog", "Policy").objects.all()
    )


class Migration(migrations.Migration):
    dependencies = [("catalog", "0005_insurance_versions")]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
