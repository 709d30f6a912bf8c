"""The schema service on a fresh database."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pyat.foundation.db import Database
from pyat.recordstore.structure import Base
from pyat.services.schema.service import SchemaService
from tests.support.schema import Client, new_workspace, principal, schema_service, served, table_draft, text_field


@pytest.fixture
def service(database: Database) -> SchemaService:
    """The service with its settings at their defaults."""
    return schema_service(database)


@pytest_asyncio.fixture
async def base(service: SchemaService) -> Base:
    """A base with one table `Tasks` of two text fields, `Name` and `Notes`."""
    return await service.create_base(
        principal=principal(),
        workspace_id=await new_workspace(service),
        name="Base",
        tables=(table_draft("Tasks", text_field("Name"), text_field("Notes")),),
    )


@pytest_asyncio.fixture
async def client(service: SchemaService, database: Database) -> AsyncIterator[Client]:
    """HTTP to the service."""
    async with served(service, database) as found:
        yield found
