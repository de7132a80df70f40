from decimal import Decimal

from django.db import migrations

UNITS = {"token/ksec": 1000, "token/sec": 1, "token/hour": 3600}


def add_units(apps, schema_editor):
    unit = apps.get_model("market", "PriceUnit")
    for name, seconds in UNITS.items():
        unit.objects.get_or_create(name=name, defaults={"tokens": Decimal(1), "seconds": seconds})


class Migration(migrations.Migration):

    dependencies = [
        ('market', '0001_initial'),
    ]

    operations = [
        migrations.RunPython(add_units, migrations.RunPython.noop),
    ]
