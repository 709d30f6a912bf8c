"""The SQL about users whom the records of a base name."""

from collections.abc import Iterable

from pyat.foundation.db import Database
from pyat.foundation.ids import BaseId
from pyat.recordstore import users
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.fieldtypes import User
from pyat.services.airtable_gateway.store.records import GONE


class PeopleStore:
    """What a base knows of users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, base_id: BaseId, people: Iterable[User]) -> None:
        """Note addresses and names. Raises StructureChanged where the base is gone."""
        statement, arguments = users.put(base_id, people)
        try:
            await self._database.run(statement, *arguments)
        except GONE as error:
            raise StructureChanged from error
