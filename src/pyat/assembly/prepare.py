"""Before the first request: migrations, and what a first start makes. Safe to run again after any interruption.

`python -m pyat.assembly.prepare` runs between the servers' start and the application's; it ends when all is there.
"""

import asyncio
import hashlib
import secrets

from pyat.assembly.catalog import BY_NAME, CATALOG, preparation_stamp
from pyat.assembly.home import Home
from pyat.assembly.process import build_local, open_resources
from pyat.assembly.sample import BASE_NAME, TABLES, make_sample
from pyat.foundation import migrations
from pyat.foundation.db import Database
from pyat.foundation.errors import AppError, InvalidToken
from pyat.foundation.identity import Principal
from pyat.foundation.ids import new_id
from pyat.foundation.settings import PlatformSettings
from pyat.foundation.telemetry import configure_logging
from pyat.services.airtable_gateway.contract import Records
from pyat.services.auth.contract import SCOPES, AccountExists, Auth
from pyat.services.schema.contract import Schema

DEFAULT_EMAIL = "admin@example.com"


def all_migrations() -> tuple[migrations.Migration, ...]:
    """Of every service, in the catalogue's order."""
    return tuple(found for entry in CATALOG for found in migrations.find(entry.name, entry.package))


async def migrate(database: Database) -> tuple[migrations.Migration, ...]:
    """Apply what is missing; returns what was applied."""
    return await migrations.apply(database, all_migrations())


async def first_start(settings: PlatformSettings, home: Home, auth: Auth, schema: Schema, records: Records) -> None:
    """The administrator, a token with every scope, a workspace and the sample base; whatever is there already stays.

    Secrets are written to the home before they are used, so that an interrupted start goes on with the same ones.
    """
    known = home.credentials()
    if "token" not in known:
        password, token = settings.admin_password, settings.admin_token
        known = {
            "email": settings.admin_email or DEFAULT_EMAIL,
            "password": password.get_secret_value() if password else secrets.token_urlsafe(12),
            "token": token.get_secret_value() if token else f"{new_id('pat')}.{secrets.token_hex(32)}",
        }
        home.keep_credentials(known)
    try:
        account = await auth.create_account(
            email=known["email"], name="Administrator", password=known["password"], tenant_name="My organisation"
        )
    except AccountExists:
        account = await auth.get_account(email=known["email"])
    digest = hashlib.sha256(known["token"].encode()).hexdigest()
    try:
        found = await auth.authenticate(digest=digest)
    except InvalidToken:
        await auth.create_token(
            user_id=account.user_id,
            name="Administrator",
            scopes=tuple(sorted(SCOPES)),
            base_ids=None,
            expires_time=None,
            secret=known["token"],
        )
        found = await auth.authenticate(digest=digest)
    principal: Principal = found.principal
    workspaces = await schema.list_workspaces(principal=principal)
    workspace = workspaces[0] if workspaces else await schema.create_workspace(principal=principal, name="My workspace")
    if settings.sample and "sample_base_id" not in known:
        base_id = await make_sample(principal, workspace.workspace_id, schema, records)
        known |= {"sample_base_id": base_id, "sample_base": BASE_NAME, "sample_table": TABLES[0].name}
        home.keep_credentials(known)


async def run() -> None:
    """Everything, in order."""
    settings = PlatformSettings()
    configure_logging(level=settings.log_level, service="prepare")
    home = Home(settings.home)
    home.prepare()
    async with open_resources(settings) as resources:
        await migrate(resources.database)
        built = build_local(resources, tuple(BY_NAME))
        await first_start(
            settings,
            home,
            built["auth"].implementation,
            built["schema"].implementation,
            built["airtable_gateway"].implementation,
        )
    home.keep_prepared(preparation_stamp())


def main() -> None:
    """Run it; a declared error is one sentence and status 1."""
    try:
        asyncio.run(run())
    except (AppError, migrations.MigrationChanged) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
