"""Two versions side by side: migrations only add, and what is on the bus today can be read tomorrow, and the reverse."""

import msgspec
import pytest
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from matching.reservations import sharing
from miners.registry import beats, sync
from tests.miners.registry.builders import row

# the first version's tables; what later migrations do to them an older process has to bear
FIRST = {"access": "0001_initial", "feedback": "0001_initial", "matching": "0001_initial", "miners": "0001_initial"}
HARMLESS = (
    migrations.CreateModel, migrations.AddIndex, migrations.RemoveIndex, migrations.RenameIndex,
    migrations.RemoveConstraint, migrations.AlterModelOptions, migrations.AlterModelManagers, migrations.RunPython,
)  # fmt: skip


def harm(operation: Operation, app: str, before: ProjectState, tables: set[tuple[str, str]]) -> str | None:
    """What an operation takes from a process of the version before; None where nothing."""
    if isinstance(operation, HARMLESS):
        return None
    model = next(
        (str(found) for each in ("model_name", "old_name", "name") if (found := getattr(operation, each, ""))), ""
    )
    if model and (app, model.lower()) not in tables:
        return None
    if isinstance(operation, migrations.AddField):
        field = operation.field
        bears = field.null or field.many_to_many or field.db_default is not models.NOT_PROVIDED
        return None if bears else f"{model}.{operation.name}: a row of the old version would lack it"
    if isinstance(operation, migrations.AlterField):
        old = before.apps.get_model(app, model)._meta.get_field(operation.name)
        changed = before.clone()
        operation.state_forwards(app, changed)
        new = changed.apps.get_model(app, model)._meta.get_field(operation.name)
        alters = connection.schema_editor(collect_sql=True)._field_should_be_altered(old, new)
        return f"{model}.{operation.name} changes" if alters else None
    return f"{type(operation).__name__} of {model or 'who knows'}"


def harms(loader: MigrationLoader) -> list[str]:
    tables = {
        (app, each.name.lower())
        for app, name in FIRST.items()
        for each in loader.get_migration(app, name).operations
        if isinstance(each, migrations.CreateModel)
    }
    found = []
    for (app, name), migration in loader.disk_migrations.items():
        if app in FIRST and name > FIRST[app]:
            state = loader.project_state((app, name), at_end=False)
            for operation in migration.operations:
                told = harm(operation, app, state, tables)
                found += [] if told is None else [f"{app}.{name}: {told}"]
                operation.state_forwards(app, state)
    return found


@pytest.mark.pure
def test_no_migration_takes_away_what_the_version_before_needs() -> None:
    loader = MigrationLoader(None)
    assert any(app in FIRST and name > FIRST[app] for app, name in loader.disk_migrations)
    assert harms(loader) == []


@pytest.mark.pure
@pytest.mark.parametrize(
    ("operation", "told"),
    [
        (migrations.RemoveField("miner", "addr"), "RemoveField of miner"),
        (migrations.RenameField("miner", "addr", "address"), "RenameField of miner"),
        (migrations.DeleteModel("Miner"), "DeleteModel of Miner"),
        (migrations.RenameModel("Miner", "Machine"), "RenameModel of Miner"),
        (migrations.RunSQL("DROP TABLE miners_miner"), "RunSQL of who knows"),
        (migrations.AddField("miner", "size", models.IntegerField(default=0)), "miner.size: a row of the old version would lack it"),
        (migrations.AddField("miner", "size", models.IntegerField(db_default=0)), None),
        (migrations.AddField("miner", "size", models.IntegerField(null=True)), None),
        (migrations.AlterField("miner", "addr", models.IntegerField()), "miner.addr changes"),
        (migrations.AddConstraint("miner", models.UniqueConstraint(fields=["addr"], name="one")), "AddConstraint of miner"),
        (migrations.AddIndex("miner", models.Index(fields=["addr"], name="quick")), None),
    ],
)  # fmt: skip
def test_what_harms_is_told(operation, told) -> None:
    loader = MigrationLoader(None)
    assert harm(operation, "miners", loader.project_state(("miners", "0001_initial")), {("miners", "miner")}) == told


# ---- on the bus

# as msgpack has them: lists and maps
ROW = [{"miner_id": "m1", "version": 1, "session": 1, "key_tag": 7, "addr": "10.0.0.1:9000", "proto": "grpc", "gpu_name": "RTX 4090", "gpu_vram": 24.0, "gpu_count": 1, "cpu_cores": 16, "ram_gb": 64.0, "price": 100000000, "price_cap": None, "overrides": [], "max_parallel": 4, "region": "eu-west", "accel": ["cuda"], "tags": [], "capabilities": [], "draining": False, "operator_drain": False, "disabled": False, "logged_out": False, "trust_s": 0.0, "trust_f": 0.0, "trust_at": 1800000000.0, "latency_mean": None, "latency_count": 0, "attested_until": 0.0, "pk": 0}, 1.0, None]  # fmt: skip
REMOVAL = ["m1", 7]
SOCKET = ["m1", 1.5]
JOB = ["j1", [["offered", 1.0, ["m1"], 2.0], ["told", 1.5, "m1", "accepted", 9.0], ["was", 1.7, None]]]
RESERVATION = b'{"id":"r","job_id":"j","miner_id":"m","ttl_ms":1000,"expires_at":1.5,"revision":1}'


wire = msgspec.msgpack.encode


@pytest.mark.pure
def test_events_as_the_first_version_wrote_them_are_read() -> None:
    assert sync._rows.decode(wire(ROW)) == sync.RowEvent(row("m1"), 1.0, None)
    assert sync._removals.decode(wire(REMOVAL)) == sync.RemovalEvent("m1", 7)
    assert sync._sockets.decode(wire(SOCKET)) == sync.SocketEvent("m1", 1.5)
    assert sharing._jobs.decode(wire(JOB)).job_id == "j1"
    assert len(sharing._jobs.decode(wire(JOB)).happened) == 3
    assert sharing._reservations.decode(RESERVATION) == sharing.ReservationEvent("r", "j", "m", 1000, 1.5, 1)


@pytest.mark.pure
def test_events_with_more_in_them_as_a_later_version_writes_them_are_read() -> None:
    fields, *others = ROW
    assert sync._rows.decode(wire([{**fields, "later": {"a": 1}}, *others, "later"])) == sync.RowEvent(
        row("m1"), 1.0, None
    )
    for decoder, data in ((sync._removals, REMOVAL), (sync._sockets, SOCKET), (sharing._jobs, JOB)):
        assert decoder.decode(wire([*data, "later"])) == decoder.decode(wire(data))
    assert sharing._reservations.decode(RESERVATION[:-1] + b',"later":1}') == sharing._reservations.decode(RESERVATION)


@pytest.mark.pure
def test_reports_of_another_format_are_refused_and_not_misread() -> None:
    batch = beats.pack(1, 2, 3, [])
    assert beats.unpack(batch).seq == 2
    later = beats.HEAD.pack(beats.FORMAT + 1, 1, 2, 3)
    with pytest.raises(beats.UnknownFormat, match="format 2"):
        beats.unpack(later)
