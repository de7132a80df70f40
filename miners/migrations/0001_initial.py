import uuid
from decimal import Decimal

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

import miners.tokens

# GIN indexes for "which miners have all of these": PostgreSQL alone has them, and `@>` is what they answer
JSON_LISTS = ("accel", "tags", "capabilities")


def add_json_indexes(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for name in JSON_LISTS:
            schema_editor.execute(f"CREATE INDEX miner_{name}_gin ON miners_miner USING gin ({name} jsonb_path_ops)")


def drop_json_indexes(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for name in JSON_LISTS:
            schema_editor.execute(f"DROP INDEX miner_{name}_gin")


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Miner",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("miner_id", models.CharField(max_length=64, unique=True)),
                ("api_key_hash", models.CharField(blank=True, default="", max_length=64)),
                ("session", models.BigIntegerField(default=0)),
                ("version", models.BigIntegerField(default=1)),
                ("addr", models.CharField(blank=True, default="", max_length=256)),
                (
                    "proto",
                    models.CharField(
                        choices=[("grpc", "Grpc"), ("http", "Http"), ("https", "Https"), ("ws", "Ws"), ("wss", "Wss")],
                        default="http",
                        max_length=8,
                    ),
                ),
                ("gpu_name", models.CharField(blank=True, default="", max_length=256)),
                ("gpu_vram", models.FloatField(default=0)),
                ("gpu_count", models.PositiveIntegerField(default=1)),
                ("cpu_cores", models.PositiveIntegerField(default=0)),
                ("ram_gb", models.FloatField(default=0)),
                ("price", miners.tokens.TokensField(default=Decimal(0))),
                ("price_cap", miners.tokens.TokensField(blank=True, null=True)),
                ("max_parallel", models.PositiveIntegerField(default=1)),
                ("region", models.CharField(blank=True, default="", max_length=64)),
                ("accel", models.JSONField(blank=True, default=list)),
                ("tags", models.JSONField(blank=True, default=list)),
                ("capabilities", models.JSONField(blank=True, default=list)),
                ("wallet_address", models.CharField(blank=True, default="", max_length=256)),
                ("draining", models.BooleanField(default=False)),
                ("operator_drain", models.BooleanField(default=False)),
                ("disabled", models.BooleanField(default=False)),
                ("logged_out", models.BooleanField(default=False)),
                ("trust_s", models.FloatField(default=0)),
                ("trust_f", models.FloatField(default=0)),
                ("trust_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("latency_mean", models.FloatField(blank=True, null=True)),
                ("latency_count", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("registered_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ("miner_id",),
            },
        ),
        migrations.CreateModel(
            name="MinerCommand",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "name",
                    models.CharField(
                        choices=[
                            ("update_tags", "Update Tags"),
                            ("set_price_cap", "Set Price Cap"),
                            ("drain", "Drain"),
                            ("resume", "Resume"),
                            ("reregister", "Reregister"),
                        ],
                        max_length=32,
                    ),
                ),
                ("args", models.JSONField(blank=True, default=dict)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("sent", "Sent"),
                            ("acked", "Acked"),
                            ("failed", "Failed"),
                            ("expired", "Expired"),
                        ],
                        default="pending",
                        max_length=16,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "ordering": ("-created_at",),
            },
        ),
        migrations.CreateModel(
            name="PriceOverride",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("price", miners.tokens.TokensField()),
                ("reason", models.CharField(blank=True, default="", max_length=200)),
                ("valid_from", models.DateTimeField(default=django.utils.timezone.now)),
                ("valid_until", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="MinerStatus",
            fields=[
                (
                    "miner",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="status",
                        serialize=False,
                        to="miners.miner",
                        to_field="miner_id",
                    ),
                ),
                ("last_seen", models.DateTimeField(blank=True, null=True)),
                ("ts", models.DateTimeField(blank=True, null=True)),
                ("queue_len", models.PositiveIntegerField(default=0)),
                ("busy", models.BooleanField(default=False)),
                ("jobs", models.PositiveIntegerField(default=0)),
                ("latency_ms", models.FloatField(blank=True, null=True)),
                ("temp_c", models.FloatField(blank=True, null=True)),
                ("mem_free_gb", models.FloatField(blank=True, null=True)),
            ],
            options={
                "verbose_name_plural": "miner statuses",
            },
        ),
        migrations.AddIndex(
            model_name="miner",
            index=models.Index(fields=["api_key_hash"], name="miner_api_key_hash"),
        ),
        migrations.AddIndex(
            model_name="miner",
            index=models.Index(fields=["region"], name="miner_region"),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("miner_id", ""), _negated=True), name="miner_id_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("proto__in", ["grpc", "http", "https", "ws", "wss"])), name="miner_proto_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("session__gte", 0), ("version__gte", 1)), name="miner_version_session"
            ),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("gpu_vram__gte", 0), ("gpu_vram__lte", 1000000)), name="miner_gpu_vram_bounds"
            ),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("gpu_count__gte", 0), ("gpu_count__lte", 1000000)), name="miner_gpu_count_bounds"
            ),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("cpu_cores__gte", 0), ("cpu_cores__lte", 1000000)), name="miner_cpu_cores_bounds"
            ),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("ram_gb__gte", 0), ("ram_gb__lte", 1000000)), name="miner_ram_gb_bounds"
            ),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("price__gte", 0), ("price__lte", Decimal("1000000000"))), name="miner_price_bounds"
            ),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("price_cap__gte", 0), ("price_cap__lte", Decimal("1000000000"))),
                name="miner_price_cap_bounds",
            ),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("max_parallel__gte", 1), ("max_parallel__lte", 10000)),
                name="miner_max_parallel_bounds",
            ),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("trust_s__gte", 0), ("trust_s__lte", 1000000000000)), name="miner_trust_s_bounds"
            ),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("trust_f__gte", 0), ("trust_f__lte", 1000000000000)), name="miner_trust_f_bounds"
            ),
        ),
        migrations.AddConstraint(
            model_name="miner",
            constraint=models.CheckConstraint(
                condition=models.Q(("latency_mean__gte", 0), ("latency_mean__lte", 1000000000000)),
                name="miner_latency_mean_bounds",
            ),
        ),
        migrations.AddField(
            model_name="minercommand",
            name="author",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="miner_commands",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="minercommand",
            name="miner",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="commands", to="miners.miner"
            ),
        ),
        migrations.AddField(
            model_name="priceoverride",
            name="author",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="price_overrides",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="priceoverride",
            name="miner",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="price_overrides",
                to="miners.miner",
            ),
        ),
        migrations.AddIndex(
            model_name="minerstatus",
            index=models.Index(fields=["last_seen"], name="status_last_seen"),
        ),
        migrations.AddConstraint(
            model_name="minerstatus",
            constraint=models.CheckConstraint(
                condition=models.Q(("queue_len__gte", 0), ("queue_len__lte", 1000000)), name="status_queue_len_bounds"
            ),
        ),
        migrations.AddConstraint(
            model_name="minerstatus",
            constraint=models.CheckConstraint(
                condition=models.Q(("jobs__gte", 0), ("jobs__lte", 1000000)), name="status_jobs_bounds"
            ),
        ),
        migrations.AddConstraint(
            model_name="minerstatus",
            constraint=models.CheckConstraint(
                condition=models.Q(("latency_ms__gte", 0), ("latency_ms__lte", 1000000000000)),
                name="status_latency_ms_bounds",
            ),
        ),
        migrations.AddConstraint(
            model_name="minerstatus",
            constraint=models.CheckConstraint(
                condition=models.Q(("temp_c__gte", -100), ("temp_c__lte", 1000)), name="status_temp_c_bounds"
            ),
        ),
        migrations.AddConstraint(
            model_name="minerstatus",
            constraint=models.CheckConstraint(
                condition=models.Q(("mem_free_gb__gte", 0), ("mem_free_gb__lte", 1000000)),
                name="status_mem_free_gb_bounds",
            ),
        ),
        migrations.AddIndex(
            model_name="minercommand",
            index=models.Index(
                condition=models.Q(("status__in", ("pending", "sent"))),
                fields=["miner", "created_at"],
                name="command_open",
            ),
        ),
        migrations.AddIndex(
            model_name="minercommand",
            index=models.Index(fields=["-created_at"], name="command_newest"),
        ),
        migrations.AddConstraint(
            model_name="minercommand",
            constraint=models.CheckConstraint(
                condition=models.Q(("name__in", ["update_tags", "set_price_cap", "drain", "resume", "reregister"])),
                name="command_name_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="minercommand",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["pending", "sent", "acked", "failed", "expired"])),
                name="command_status_known",
            ),
        ),
        migrations.AddIndex(
            model_name="priceoverride",
            index=models.Index(fields=["miner", "-id"], name="override_newest"),
        ),
        migrations.AddIndex(
            model_name="priceoverride",
            index=models.Index(fields=["valid_until"], name="override_ends"),
        ),
        migrations.AddConstraint(
            model_name="priceoverride",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("valid_until__isnull", True), ("valid_until__gt", models.F("valid_from")), _connector="OR"
                ),
                name="override_ends_later",
            ),
        ),
        migrations.AddConstraint(
            model_name="priceoverride",
            constraint=models.CheckConstraint(
                condition=models.Q(("price__gte", 0), ("price__lte", Decimal("1000000000"))),
                name="override_price_bounds",
            ),
        ),
        migrations.RunPython(add_json_indexes, drop_json_indexes),
    ]
