"""The sample base: a small agency's project tracker, three tables with 206 records, the same on every machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import orjson

from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, WorkspaceId
from pyat.services.airtable_gateway.contract import ListQuery, Records
from pyat.services.schema.contract import FieldDraft, Schema, TableDraft

BASE_NAME = "Project tracker (sample)"
_BATCH = 10
_START = date(2026, 1, 5)

_PEOPLE = (
    "Amara Okafor", "Björn Lindqvist", "Chiara Rossi", "Daniel Weiss", "Elif Yıldız", "Farid Haddad", "Grace Kim",
    "Hana Suzuki", "Ivan Petrov", "Júlia Santos", "Kwame Mensah", "Léa Fournier", "Marta Kowalska", "Noah Bennett",
    "Olga Ivanova", "Priya Nair", "Quentin Moreau", "Rosa Jiménez", "Sven Bakker", "Thandi Nkosi",
)  # fmt: skip
_ROLES = ("Design", "Engineering", "Content", "Research", "Operations")
_PROJECTS = (
    ("Harbour museum website", "Harbour Museum", 48_000, "Active"),
    ("Ticket shop relaunch", "City Opera", 76_500, "Active"),
    ("Solar calculator", "Helio Energy", 31_200, "Planned"),
    ("Annual report 2025", "Northwind Bank", 22_750, "Done"),
    ("Patient portal study", "St. Clara Hospital", 64_000, "Active"),
    ("Bike map app", "Velo Association", 18_900, "On hold"),
    ("Winery brand refresh", "Weingut Adler", 12_400, "Done"),
    ("Data room for investors", "Quanta Labs", 27_300, "Active"),
    ("Accessibility audit", "Public Library", 9_800, "Done"),
    ("Festival newsletter", "Lake Festival", 6_500, "Planned"),
    ("Onboarding videos", "Brightside Insurance", 38_600, "Active"),
    ("Inventory prototype", "Tools & Timber", 15_250, "Cancelled"),
    ("Recycling campaign", "City Council", 54_100, "Planned"),
    ("Booking engine", "Alpine Huts", 88_000, "Active"),
)
_STEPS = ("Kick-off", "Interviews", "Wireframes", "Copy deck", "Visual design", "Build", "Usability test", "Launch")
_TASK_STATES = ("Todo", "In progress", "In review", "Done")
_TAGS = ("client", "urgent", "design", "frontend", "backend", "legal")
_TASKS = 172

_CHECK = {"icon": "check", "color": "greenBright"}
_DAY = {"dateFormat": {"name": "iso"}}
_MOMENT = {"dateFormat": {"name": "iso"}, "timeFormat": {"name": "24hour"}, "timeZone": "utc"}


def _choices(*names: str) -> dict[str, Any]:
    return {"choices": [{"name": name} for name in names]}


TABLES = (
    TableDraft(
        "Projects",
        (
            FieldDraft("Name", "singleLineText"),
            FieldDraft("Client", "singleLineText"),
            FieldDraft("Status", "singleSelect", options=_choices("Planned", "Active", "On hold", "Done", "Cancelled")),
            FieldDraft("Budget", "currency", options={"precision": 0, "symbol": "€"}),
            FieldDraft("Progress", "percent", options={"precision": 0}),
            FieldDraft("Start", "date", options=_DAY),
            FieldDraft("Deadline", "date", options=_DAY),
            FieldDraft("Website", "url"),
            FieldDraft("Brief", "richText"),
        ),
        "What the agency works on.",
    ),
    TableDraft(
        "Tasks",
        (
            FieldDraft("Title", "singleLineText"),
            FieldDraft("Number", "autoNumber"),
            FieldDraft("Project", "singleSelect", options=_choices(*(project[0] for project in _PROJECTS))),
            FieldDraft("Assignee", "singleSelect", options=_choices(*_PEOPLE)),
            FieldDraft("Status", "singleSelect", options=_choices(*_TASK_STATES)),
            FieldDraft("Tags", "multipleSelects", options=_choices(*_TAGS)),
            FieldDraft("Due", "date", options=_DAY),
            FieldDraft("Effort", "duration", options={"durationFormat": "h:mm"}),
            FieldDraft("Priority", "rating", options={"icon": "star", "max": 5, "color": "yellowBright"}),
            FieldDraft("Billable", "checkbox", options=_CHECK),
            FieldDraft("Notes", "multilineText"),
            FieldDraft("Created", "createdTime"),
            FieldDraft("Last modified", "lastModifiedTime"),
        ),
        "Steps of the projects, who does them and until when.",
    ),
    TableDraft(
        "People",
        (
            FieldDraft("Name", "singleLineText"),
            FieldDraft("E-mail", "email"),
            FieldDraft("Phone", "phoneNumber"),
            FieldDraft("Role", "singleSelect", options=_choices(*_ROLES)),
            FieldDraft("Rate", "currency", options={"precision": 2, "symbol": "€"}),
            FieldDraft("Last seen", "dateTime", options=_MOMENT),
        ),
        "The team.",
    ),
)


@dataclass(frozen=True, slots=True)
class _Dice:
    """Numbers that look random and are the same everywhere."""

    seed: int

    def roll(self, sides: int, turn: int) -> int:
        """A number from 0 to sides - 1."""
        mixed = (self.seed * 2_654_435_761 + turn * 40_503 + (self.seed ^ turn) * 69_069) & 0xFFFFFFFF
        return (mixed >> 7) % sides


def _projects() -> list[dict[str, Any]]:
    rows = []
    for number, (name, client, budget, status) in enumerate(_PROJECTS):
        dice = _Dice(number + 1)
        start = _START + timedelta(days=9 * number)
        progress = {"Done": 1.0, "Planned": 0.0, "Cancelled": 0.15}.get(status, (2 + dice.roll(7, 1)) / 10)
        rows.append(
            {
                "Name": name,
                "Client": client,
                "Status": status,
                "Budget": budget,
                "Progress": progress,
                "Start": start.isoformat(),
                "Deadline": (start + timedelta(days=45 + dice.roll(90, 2))).isoformat(),
                "Website": f"https://{client.lower().replace(' ', '-').replace('.', '').replace('&', 'and')}.example",
                "Brief": f"**{name}** for {client}.\n\n- one contact person\n- weekly demo",
            }
        )
    return rows


def _tasks() -> list[dict[str, Any]]:
    rows = []
    for number in range(_TASKS):
        dice = _Dice(number + 101)
        project = _PROJECTS[number % len(_PROJECTS)][0]
        step = _STEPS[(number // len(_PROJECTS)) % len(_STEPS)]
        row: dict[str, Any] = {
            "Title": f"{step}: {project}",
            "Project": project,
            "Assignee": _PEOPLE[dice.roll(len(_PEOPLE), 1)],
            "Status": _TASK_STATES[dice.roll(len(_TASK_STATES), 2)],
            "Due": (_START + timedelta(days=number + dice.roll(30, 3))).isoformat(),
            "Effort": 1800 * (1 + dice.roll(16, 4)),
            "Priority": 1 + dice.roll(5, 5),
            "Billable": dice.roll(3, 6) > 0,
        }
        tags = [tag for turn, tag in enumerate(_TAGS) if dice.roll(4, 10 + turn) == 0]
        if tags:
            row["Tags"] = tags
        if dice.roll(3, 7) == 0:
            row["Notes"] = f"Ask {_PEOPLE[dice.roll(len(_PEOPLE), 8)].split()[0]} first.\nKeep it short."
        rows.append(row)
    return rows


def _people() -> list[dict[str, Any]]:
    rows = []
    for number, name in enumerate(_PEOPLE):
        dice = _Dice(number + 501)
        rows.append(
            {
                "Name": name,
                "E-mail": f"person{number + 1}@agency.example",
                "Phone": f"+41 44 555 {10 + number:02d} {dice.roll(90, 1) + 10}",
                "Role": _ROLES[number % len(_ROLES)],
                "Rate": 85 + 5 * dice.roll(12, 2) + 0.5,
                "Last seen": f"2026-03-{1 + dice.roll(28, 3):02d}T{7 + dice.roll(11, 4):02d}:{dice.roll(60, 5):02d}:00.000Z",
            }
        )
    return rows


async def find_sample(principal: Principal, schema: Schema) -> BaseId | None:
    """The base that looks like the sample by its name, if there is one."""
    offset = None
    while True:
        page = await schema.list_bases(principal=principal, offset=offset)
        found = next((base.base_id for base in page.bases if base.name == BASE_NAME), None)
        if found is not None or page.offset is None:
            return found
        offset = page.offset


async def make_sample(principal: Principal, workspace_id: WorkspaceId, schema: Schema, records: Records) -> BaseId:
    """The sample base, whole: one that an interrupted start left is completed."""
    base_id = await find_sample(principal, schema)
    if base_id is None:
        base = await schema.create_base(principal=principal, workspace_id=workspace_id, name=BASE_NAME, tables=TABLES)
        base_id = base.base_id
    for table, rows in zip(TABLES, (_projects(), _tasks(), _people()), strict=True):
        await _complete(principal, base_id, table.name, rows, records)
    return base_id


async def _complete(
    principal: Principal, base_id: BaseId, table: str, rows: Sequence[Mapping[str, Any]], records: Records
) -> None:
    there = 0
    offset = None
    while True:
        page = await records.list_records(
            principal=principal, base_id=base_id, table=table, query=ListQuery(fields=(), offset=offset)
        )
        there += len(orjson.loads(b"[" + page.records + b"]"))
        offset = page.offset
        if offset is None:
            break
    for start in range(there, len(rows), _BATCH):
        await records.create_records(
            principal=principal,
            base_id=base_id,
            table=table,
            rows=tuple(rows[start : start + _BATCH]),
            typecast=False,
            by_id=False,
        )
