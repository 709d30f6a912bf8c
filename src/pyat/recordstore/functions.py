"""The functions of PostgreSQL that computed cells call, installed once for a database."""

from pyat.formula import runtime
from pyat.foundation.db import Database
from pyat.foundation.sql import Statement

_VERSION = Statement("functions_version", "SELECT obj_description(to_regnamespace('pyat_formula'), 'pg_namespace')")


async def install(database: Database) -> bool:
    """Make the functions those of this version of the code; False where they are already."""
    async with database.connection() as connection:
        if await connection.value(_VERSION) == runtime.VERSION:
            return False
    async with database.transaction() as connection:
        await connection.script("install_functions", runtime.script())
        await connection.script("note_functions", f"COMMENT ON SCHEMA pyat_formula IS '{runtime.VERSION}'")
    return True
