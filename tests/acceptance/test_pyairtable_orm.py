"""pyairtable's ORM with every one of its field classes against a started platform, in one process and in many."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from pyairtable import Api, Base
from pyairtable.orm import Model
from pyairtable.orm import fields as F  # noqa: N812 - as its documentation does

from tests.acceptance.support import Account

_UTC = {"dateFormat": {"name": "iso"}, "timeFormat": {"name": "24hour"}, "timeZone": "utc"}
_CHOICES = {"choices": [{"name": "Todo"}, {"name": "Done"}]}
_STARS = {"icon": "star", "max": 5, "color": "yellowBright"}
_MOMENT = datetime.datetime(2024, 2, 29, 23, 59, 59, 123_000, tzinfo=datetime.UTC)
_DAY = datetime.date(2024, 2, 29)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a field class is used: the type it stands on, a value, another value, and what a blank cell reads as."""

    type: str
    value: Any
    other: Any
    blank: Any = None
    options: Mapping[str, Any] | None = None


_TEXT = Kind("singleLineText", "Zoë 🐍", "b", "")
_LONG = Kind("multilineText", "one\ntwo", "b", "")
_NUMBER = {"precision": 3}
_MONEY = {"precision": 2, "symbol": "$"}

# What programs may write.
WRITABLE: Mapping[type[F.AnyField], Kind] = {
    F.SingleLineTextField: _TEXT,
    F.RequiredSingleLineTextField: _TEXT,
    F.TextField: _TEXT,
    F.RequiredTextField: _LONG,
    F.MultilineTextField: _LONG,
    F.RequiredMultilineTextField: _LONG,
    F.RichTextField: Kind("richText", "**bold**\n", "plain\n", ""),
    F.RequiredRichTextField: Kind("richText", "**bold**\n", "plain\n", ""),
    F.EmailField: Kind("email", "zoe@example.com", "bob@example.com", ""),
    F.RequiredEmailField: Kind("email", "zoe@example.com", "bob@example.com", ""),
    F.UrlField: Kind("url", "https://example.com/?q=ä", "https://example.org", ""),
    F.RequiredUrlField: Kind("url", "https://example.com/?q=ä", "https://example.org", ""),
    F.PhoneNumberField: Kind("phoneNumber", "+41 44 123 45 67", "1", ""),
    F.RequiredPhoneNumberField: Kind("phoneNumber", "+41 44 123 45 67", "1", ""),
    F.NumberField: Kind("number", 12.5, 7, options=_NUMBER),
    F.RequiredNumberField: Kind("number", 12.5, 7, options=_NUMBER),
    F.IntegerField: Kind("number", -3, 0, options={"precision": 0}),
    F.RequiredIntegerField: Kind("number", -3, 0, options={"precision": 0}),
    F.FloatField: Kind("number", 0.125, 1.5, options=_NUMBER),
    F.RequiredFloatField: Kind("number", 0.125, 1.5, options=_NUMBER),
    F.CurrencyField: Kind("currency", 99.95, 0, options=_MONEY),
    F.RequiredCurrencyField: Kind("currency", 99.95, 0, options=_MONEY),
    F.PercentField: Kind("percent", 0.5, 0.125, options={"precision": 1}),
    F.RequiredPercentField: Kind("percent", 0.5, 0.125, options={"precision": 1}),
    F.RatingField: Kind("rating", 4, 1, options=_STARS),
    F.RequiredRatingField: Kind("rating", 4, 1, options=_STARS),
    F.CheckboxField: Kind("checkbox", True, False, False, options={"icon": "check", "color": "greenBright"}),
    F.DateField: Kind("date", _DAY, datetime.date(1999, 1, 1), options={"dateFormat": {"name": "us"}}),
    F.RequiredDateField: Kind("date", _DAY, datetime.date(1999, 1, 1), options={"dateFormat": {"name": "us"}}),
    F.DatetimeField: Kind("dateTime", _MOMENT, _MOMENT.replace(year=2000), options=_UTC),
    F.RequiredDatetimeField: Kind("dateTime", _MOMENT, _MOMENT.replace(year=2000), options=_UTC),
    F.DurationField: Kind(
        "duration",
        datetime.timedelta(hours=1, seconds=1.5),
        datetime.timedelta(0),
        options={"durationFormat": "h:mm:ss.S"},
    ),
    F.RequiredDurationField: Kind(
        "duration",
        datetime.timedelta(hours=1, seconds=1.5),
        datetime.timedelta(0),
        options={"durationFormat": "h:mm:ss.S"},
    ),
    F.SelectField: Kind("singleSelect", "Todo", "Done", options=_CHOICES),
    F.RequiredSelectField: Kind("singleSelect", "Todo", "Done", options=_CHOICES),
    F.MultipleSelectField: Kind("multipleSelects", ["Done", "Todo"], ["Todo"], [], options=_CHOICES),
    F.BarcodeField: Kind("barcode", {"text": "0123", "type": "upce"}, {"text": "4"}),
    F.RequiredBarcodeField: Kind("barcode", {"text": "0123", "type": "upce"}, {"text": "4"}),
}
# Filled by the platform, or not yet by anybody.
COMPUTED: Mapping[type[F.AnyField], Kind] = {
    F.AutoNumberField: Kind("autoNumber", 1, None),
    F.CreatedTimeField: Kind("createdTime", datetime.datetime, None, options={}),
    F.LastModifiedTimeField: Kind("lastModifiedTime", datetime.datetime, None, options={}),
    F.CreatedByField: Kind("createdBy", dict, None),
    F.LastModifiedByField: Kind("lastModifiedBy", dict, None),
    F.ButtonField: Kind(
        "button",
        {"label": "Open", "url": "https://example.com"},
        None,
        options={"label": "Open", "url": "https://example.com"},
    ),
    F.AITextField: Kind("aiText", None, None, options={"prompt": ["Sum up"]}),
    F.RequiredAITextField: Kind("aiText", None, None, options={"prompt": ["Sum up"]}),
    F.ExternalSyncSourceField: Kind("externalSyncSource", "", None, options=_CHOICES),
}
# Made below, because they need a second table or a person.
OTHERS = {
    F.LinkField,
    F.SingleLinkField,
    F.CountField,
    F.RequiredCountField,
    F.LookupField,
    F.AttachmentsField,
    F.CollaboratorField,
    F.RequiredCollaboratorField,
    F.MultipleCollaboratorsField,
}
# A type that no record shows, on Airtable neither.
UNSHOWN = {F.ManualSortField}


def test_no_class_is_missing() -> None:
    assert {*WRITABLE, *COMPUTED, *OTHERS, *UNSHOWN} == F.ALL_FIELDS
    assert {kind for kind in COMPUTED if kind.readonly} == set(COMPUTED)


def _draft(kind: type[F.AnyField], use: Kind) -> dict[str, Any]:
    draft: dict[str, Any] = {"name": kind.__name__, "type": use.type}
    return draft if use.options is None else {**draft, "options": dict(use.options)}


def _model(api: Api, base: Base, table_name: str, members: Mapping[str, Any]) -> Any:
    """A model as a program declares it. Its `api` is given an endpoint, for which Meta has no key."""
    meta = {"api_key": api.api_key, "base_id": base.id, "table_name": table_name}
    made: Any = type("Thing", (Model,), {"__module__": __name__, "Meta": meta, **members})
    made.meta.api = api
    return made


@pytest.fixture(scope="module")
def orm_api(platform: Any, account: Account) -> Api:
    return Api(account.token, endpoint_url=platform.url)


@pytest.fixture(scope="module")
def base(orm_api: Api, account: Account) -> Base:
    """Tables with a field for each class, named after it."""
    text = {"name": "Name", "type": "singleLineText"}
    both = {**WRITABLE, **COMPUTED}
    return orm_api.create_base(
        account.workspace_id,
        "ORM",
        [
            {"name": "Plain", "fields": [text, *(_draft(kind, use) for kind, use in both.items())]},
            {"name": "Companies", "fields": [text]},
            {"name": "People", "fields": [text]},
        ],
    )


@pytest.fixture(scope="module")
def plain(orm_api: Api, base: Base) -> Any:
    members: dict[str, Any] = {"name": F.TextField("Name")}
    members |= {kind.__name__: kind(kind.__name__) for kind in (*WRITABLE, *COMPUTED)}
    return _model(orm_api, base, "Plain", members)


def test_every_class_writes_and_reads(plain: Any) -> None:
    thing = plain(name="all", **{kind.__name__: use.value for kind, use in WRITABLE.items()})
    assert thing.save().created
    read = plain.from_id(thing.id, memoize=False)
    assert {kind.__name__: getattr(read, kind.__name__) for kind in WRITABLE} == {
        kind.__name__: use.value for kind, use in WRITABLE.items()
    }
    for kind, use in WRITABLE.items():
        setattr(read, kind.__name__, use.other)
    saved = read.save()
    assert saved.updated
    assert saved.field_names == {kind.__name__ for kind in WRITABLE}
    again = plain.from_id(thing.id, memoize=False)
    assert {kind.__name__: getattr(again, kind.__name__) for kind in WRITABLE} == {
        kind.__name__: use.other for kind, use in WRITABLE.items()
    }
    assert again.delete()
    assert again.id not in {found.id for found in plain.all(memoize=False)}


def test_blank_cells(plain: Any) -> None:
    thing = plain(name="blank")
    thing.save()
    read = plain.from_id(thing.id, memoize=False)
    for kind, use in WRITABLE.items():
        if not kind.__name__.startswith("Required"):
            assert getattr(read, kind.__name__) == use.blank, kind


def test_cells_can_be_cleared(plain: Any) -> None:
    optional = {kind: use for kind, use in WRITABLE.items() if not kind.__name__.startswith("Required")}
    thing = plain(name="cleared", **{kind.__name__: use.value for kind, use in optional.items()})
    thing.save()
    for kind, use in optional.items():
        setattr(thing, kind.__name__, use.blank)
    thing.save()
    read = plain.from_id(thing.id, memoize=False)
    assert {kind.__name__: getattr(read, kind.__name__) for kind in optional} == {
        # Rich text keeps the line break at its end, as Airtable's does.
        kind.__name__: "\n" if use.type == "richText" else use.blank
        for kind, use in optional.items()
    }


def test_what_the_platform_fills(plain: Any, account: Account) -> None:
    first, second = plain(name="one"), plain(name="two")
    plain.batch_save([first, second])
    read, after = (plain.from_id(found.id, memoize=False) for found in (first, second))
    assert after.AutoNumberField == read.AutoNumberField + 1
    assert read.CreatedTimeField.tzinfo is not None
    assert read.LastModifiedTimeField >= read.CreatedTimeField
    assert read.CreatedByField["id"] == account.user_id
    assert read.LastModifiedByField["email"] == account.email
    assert read.ButtonField == COMPUTED[F.ButtonField].value
    assert read.AITextField is None
    assert read.ExternalSyncSourceField == ""
    for kind in COMPUTED:
        with pytest.raises(AttributeError, match="is read-only"):
            setattr(read, kind.__name__, {"any": "value"})
    plain.batch_delete([first, second])
    assert not {first.id, second.id} & {found.id for found in plain.all(memoize=False)}


@pytest.fixture(scope="module")
def linked(orm_api: Api, base: Base) -> tuple[Any, Any]:
    """Models of people and companies, linked with each other."""
    companies, people = base.table("Companies"), base.table("People")
    link: Any = people.create_field("Companies", "multipleRecordLinks", options={"linkedTableId": companies.id})
    one: Any = people.create_field("Employer", "multipleRecordLinks", options={"linkedTableId": companies.id})
    name_id = companies.schema().field("Name").id
    route = {"recordLinkFieldId": link.id, "fieldIdInLinkedTable": name_id}
    people.create_field("Count", "count", options={"recordLinkFieldId": link.id})
    people.create_field("Names", "multipleLookupValues", options=route)
    people.create_field("Owner", "singleCollaborator")
    people.create_field("Needed owner", "singleCollaborator")
    people.create_field("Team", "multipleCollaborators")
    people.create_field("Files", "multipleAttachments")
    schema = base.schema(force=True).table("Companies")
    inverse = schema.field(link.options.inverse_link_field_id).name
    assert {field.type for field in schema.fields} == {"singleLineText", "multipleRecordLinks"}
    assert one.options.inverse_link_field_id != link.options.inverse_link_field_id
    company = _model(orm_api, base, "Companies", {"name": F.TextField("Name")})
    person = _model(
        orm_api,
        base,
        "People",
        {
            "name": F.TextField("Name"),
            "companies": F.LinkField("Companies", company, lazy=True),
            "employer": F.SingleLinkField("Employer", company, lazy=True),
            "count": F.CountField("Count"),
            "needed_count": F.RequiredCountField("Count"),
            "names": F.LookupField("Names"),
            "owner": F.CollaboratorField("Owner"),
            "needed_owner": F.RequiredCollaboratorField("Needed owner"),
            "team": F.MultipleCollaboratorsField("Team"),
            "files": F.AttachmentsField("Files"),
        },
    )
    company_with_people = _model(
        orm_api,
        base,
        "Companies",
        {"name": F.TextField("Name"), "people": F.LinkField(inverse, person, lazy=True)},
    )
    return person, company_with_people


def _companies(kind: Any, *names: str) -> list[Any]:
    made = [kind(name=name) for name in names]
    for company in made:
        company.save()
    return made


def test_links_keep_their_order_and_show_on_the_other_side(linked: tuple[Any, Any]) -> None:
    person, company = linked
    first, second, third = _companies(company, "A", "B", "C")
    ann = person(name="Ann")
    # The model of companies that people link to is one without their own links.
    of_people = person.companies.linked_model
    ann.companies = [of_people.from_id(found.id, fetch=False) for found in (third, first)]
    ann.employer = of_people.from_id(second.id, fetch=False)
    ann.save()
    read = person.from_id(ann.id, memoize=False)
    assert [found.id for found in read.companies] == [third.id, first.id]
    assert read.employer.id == second.id
    assert (read.count, read.needed_count) == (2, 2)
    read.companies[0].fetch()
    assert read.companies[0].name == "C"
    other_side = company.from_id(third.id, memoize=False)
    assert [found.id for found in other_side.people] == [ann.id]
    # From the other side, too: B gets Ann, and Ann has B last.
    second.people = [person.from_id(ann.id, fetch=False)]
    second.save()
    assert [found.id for found in person.from_id(ann.id, memoize=False).companies] == [third.id, first.id, second.id]
    read = person.from_id(ann.id, memoize=False)
    read.companies.pop(0)
    read.employer = None
    read.save()
    read = person.from_id(ann.id, memoize=False)
    assert [found.id for found in read.companies] == [first.id, second.id]
    assert read.employer is None
    assert company.from_id(third.id, memoize=False).people == []
    first.delete()
    assert [found.id for found in person.from_id(ann.id, memoize=False).companies] == [second.id]


def test_counts_of_nothing_are_zero(linked: tuple[Any, Any]) -> None:
    person, _ = linked
    alone = person(name="Alone")
    alone.save()
    read = person.from_id(alone.id, memoize=False)
    assert (read.count, read.needed_count) == (0, 0)
    assert read.companies == []
    assert read.files == []
    assert read.team == []
    assert read.owner is None


def test_people(linked: tuple[Any, Any], account: Account) -> None:
    person, _ = linked
    made = person(name="Owned")
    made.owner = {"id": account.user_id}
    made.needed_owner = {"email": account.email}
    made.team = [{"id": account.user_id}]
    made.save()
    read = person.from_id(made.id, memoize=False)
    for found in (read.owner, read.needed_owner, *read.team):
        assert found["id"] == account.user_id
        assert found["email"] == account.email
    assert len(read.team) == 1
    read.team, read.owner = [], None
    read.save()
    read = person.from_id(made.id, memoize=False)
    assert (read.team, read.owner) == ([], None)


def test_lists_of_records(plain: Any) -> None:
    names = [f"row {number}" for number in range(12)]
    things = [plain(name=name, IntegerField=number) for number, name in enumerate(names)]
    plain.batch_save(things)
    found = plain.all(sort=["-IntegerField"], fields=["Name", "IntegerField"], max_records=3)
    assert [thing.name for thing in found] == ["row 11", "row 10", "row 9"]
    for thing in things:
        thing.IntegerField += 100
    plain.batch_save(things)
    assert plain.first(sort=["-IntegerField"]).IntegerField == 111
    plain.batch_delete(things)
    assert not {thing.name for thing in plain.all()} & set(names)


def test_field_ids(orm_api: Api, base: Base) -> None:
    name_id = base.table("Companies").schema().field("Name").id
    meta = {"api_key": orm_api.api_key, "base_id": base.id, "table_name": "Companies", "use_field_ids": True}
    by_id: Any = type("ById", (Model,), {"__module__": __name__, "Meta": meta, "name": F.TextField(name_id)})
    by_id.meta.api = orm_api
    made = by_id(name="by its id")
    made.save()
    assert by_id.from_id(made.id, memoize=False).name == "by its id"
    assert orm_api.table(base.id, "Companies").get(made.id)["fields"] == {"Name": "by its id"}
