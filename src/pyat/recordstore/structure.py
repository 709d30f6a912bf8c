"""The structure of a base as frozen values: tables, fields, views. One version number covers it all.

`options` hold a field type's options as they are stored (wire reference, section 6.2, in read form); the classes in
`fieldtypes` know what they mean.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import pydantic

from pyat.foundation.ids import BaseId, FieldId, TableId, TenantId, ViewId, WorkspaceId

if TYPE_CHECKING:
    from pyat.recordstore.computing import Computed

    ComputedHere: TypeAlias = Computed | None
else:
    # It stays in the process that made it; whoever is sent a structure makes it anew: see `computing.with_computed`.
    ComputedHere = Annotated[Any, pydantic.Field(exclude=True)]

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Link:
    """Where the links of a field lie: one junction relation for both fields of a pair.

    A junction has the columns `a` and `b` (creation numbers of the two records) and `a_place` and `b_place`: the place
    of `b` in a's cell, and of `a` in b's. `is_first` says that this field's own records are in `a`.
    """

    junction: str
    linked_table_id: TableId
    is_first: bool
    inverse_field_id: FieldId | None = None
    primary: "Field | None" = field(default=None, compare=False)
    """The primary field of the linked table; None where that table is deleted."""

    @property
    def own(self) -> str:
        """The column of the records whose cells these are."""
        return "a" if self.is_first else "b"

    @property
    def other(self) -> str:
        """The column of the records they link to."""
        return "b" if self.is_first else "a"

    @property
    def place(self) -> str:
        """The column of the order within a cell."""
        return f"{self.own}_place"


@dataclass(frozen=True)
class Stored:
    """Where the cells of a computed field lie: a column of the table's relation, and one that says which are errors.

    Readers use it once `is_ready`; before that it is being filled, and the cells are computed when they are read.
    """

    name: str
    generation: str
    """Changes whenever the column becomes another field's, or the field's cells mean something else."""
    definition: Options
    """What the cells were made from: see `computing.definition_of`."""
    shape: Options
    """What is known of all values: `{"error": …, "finite": …, "filled": …}`."""
    is_ready: bool
    is_behind: bool = False
    """Whether a change that reached too many records is not in all of it yet."""


@dataclass(frozen=True)
class Field:
    """A column of a table. Fields that were not read from a base lack `number`, `base_id`, `link` and `computed`."""

    field_id: FieldId
    name: str
    type: str
    options: Options = field(default_factory=dict)
    description: str | None = None
    number: int = field(default=0, compare=False)
    """Unique in its base and never used again; the change log calls the field by it."""
    base_id: BaseId = field(default=BaseId(""), compare=False)
    link: Link | None = field(default=None, compare=False)
    via: Link | None = field(default=None, compare=False)
    """The links that a count, rollup or lookup follows; None where their field is gone."""
    computed: ComputedHere = field(default=None, compare=False, repr=False)
    """Of a formula, rollup or lookup that was read from a base: what its cells are made of."""
    stored: Stored | None = field(default=None, compare=False, repr=False)
    """Of such a field: where its cells lie, where they are kept."""


@dataclass(frozen=True)
class View:
    """A saved way to look at a table. `field_ids` is the display order; hidden ones are in `hidden_field_ids`.

    `filter`, `sorts` and `groups` are what `recordstore.filters` reads; `settings` belong to the kind of view.
    """

    view_id: ViewId
    name: str
    type: str
    field_ids: tuple[FieldId, ...] = ()
    hidden_field_ids: tuple[FieldId, ...] = ()
    filter: Options | None = None
    sorts: tuple[Options, ...] = ()
    groups: tuple[Options, ...] = ()
    settings: Options = field(default_factory=dict)
    description: str | None = None


@dataclass(frozen=True)
class Table:
    """A table with its fields in order of creation and its views."""

    table_id: TableId
    name: str
    primary_field_id: FieldId
    fields: tuple[Field, ...]
    views: tuple[View, ...]
    description: str | None = None
    date_dependency: Options | None = None
    number: int = field(default=0, compare=False)
    """Unique in its base and never used again; the change log calls the table by it."""
    joined: str | None = field(default=None, compare=False)
    """SQL of a relation to read in the place of the table's own, which has some more columns."""

    @cached_property
    def fields_by_id(self) -> dict[str, Field]:
        """Every field by its id."""
        return {field.field_id: field for field in self.fields}

    @cached_property
    def fields_by_name(self) -> dict[str, Field]:
        """Every field by its exact name."""
        return {field.name: field for field in self.fields}

    @cached_property
    def plans(self) -> dict[Hashable, Any]:
        """Texts that were made from this structure; they live as long as it does and are never compared."""
        return {}

    def find_field(self, id_or_name: str) -> Field | None:
        """By id, else by exact name; a name wins only where no field has that id."""
        return self.fields_by_id.get(id_or_name) or self.fields_by_name.get(id_or_name)

    def find_view(self, id_or_name: str) -> View | None:
        """By id, else by exact name."""
        return next((view for view in self.views if view.view_id == id_or_name), None) or next(
            (view for view in self.views if view.name == id_or_name), None
        )


@dataclass(frozen=True)
class Base:
    """A base: what it belongs to and all of its structure, as of `version`."""

    base_id: BaseId
    name: str
    tenant_id: TenantId
    workspace_id: WorkspaceId
    version: int
    tables: tuple[Table, ...]

    @cached_property
    def tables_by_id(self) -> dict[str, Table]:
        """Every table by its id."""
        return {table.table_id: table for table in self.tables}

    def find_table(self, id_or_name: str) -> Table | None:
        """By id, by exact name, else by name without regard to case (wire reference, section 1.4)."""
        for table in self.tables:
            if table.table_id == id_or_name:
                return table
        for table in self.tables:
            if table.name == id_or_name:
                return table
        folded = id_or_name.casefold()
        return next((table for table in self.tables if table.name.casefold() == folded), None)
