"""What the options of a new field say about other fields: all of it has to be there."""

from collections.abc import Collection, Mapping

from pyat.formula.errors import FormulaProblem
from pyat.recordstore import computing
from pyat.recordstore.errors import InvalidFieldOptions
from pyat.recordstore.fieldtypes import REGISTRY, BadOptions
from pyat.recordstore.structure import Field, Table


def settled(table: str, field: Field, known: Mapping[str, Field], tables: Collection[Table]) -> Field:
    """The field of the table called `table` with its references checked, and ids for the names in a formula.

    `known` are the table's fields by id, `tables` all of the base. Raises InvalidFieldOptions.
    """
    try:
        if field.type == "lastModifiedTime":
            _check_watched(field, known)
        elif field.type == "aiText":
            for field_id in field.options["referencedFieldIds"]:
                _check(field_id in known, "prompt", f"names no field of the table: {field_id}")
        elif "recordLinkFieldId" in field.options:
            _check_way(field, known, tables)
        return computing.proposed(field, known, tables) if field.type in computing.COMPUTED else field
    except BadOptions as error:
        raise InvalidFieldOptions(table=table, field=field.name, reason=error.reason(field.name)) from None
    except FormulaProblem as problem:
        reason = f"{field.name}.options.formula is invalid: {problem.message}"
        raise InvalidFieldOptions(table=table, field=field.name, reason=reason) from None


def _check(is_good: bool, key: str, problem: str) -> None:
    if not is_good:
        raise BadOptions(f"options.{key}", problem)


def _check_watched(field: Field, known: Mapping[str, Field]) -> None:
    """What a modified time watches must be there, and be something that people edit."""
    for field_id in field.options["referencedFieldIds"]:
        other = known.get(field_id)
        if other is None or REGISTRY[other.type].is_computed:
            raise BadOptions("options.referencedFieldIds:", f"{field_id} is no editable field of the table")


def _check_way(field: Field, known: Mapping[str, Field], tables: Collection[Table]) -> None:
    link = known.get(field.options["recordLinkFieldId"])
    if link is None or link.type != "multipleRecordLinks":
        raise BadOptions("options.recordLinkFieldId", "is not the id of a link field of the table")
    wanted = field.options.get("fieldIdInLinkedTable")
    if wanted is not None:
        linked = next((table for table in tables if table.table_id == link.options["linkedTableId"]), None)
        _check(
            linked is not None and wanted in linked.fields_by_id,
            "fieldIdInLinkedTable",
            "is not the id of a field of the linked table",
        )
