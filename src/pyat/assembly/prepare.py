"""Before the first request: migrations, and what a first start makes. Safe to run again after any interruption.

`python -m pyat.assembly.prepare` runs between the servers' start and the application's; it ends when all is there.
"""

import asyncio
import hashlib
import os
import secrets
import signal
import sys

import structlog

from pyat.assembly.catalog import BY_NAME, CATALOG, preparation_stamp
from pyat.assembly.embedded.errors import HomeError
from pyat.assembly.embedded.home import Home
from pyat.assembly.parent import watch_parent
from pyat.assembly.process import build_local, open_resources, unreachable
from pyat.assembly.sample import BASE_NAME, TABLES, find_sample, make_sample
from pyat.foundation import migrations
from pyat.foundation.db import Database
from pyat.foundation.errors import AppError, InvalidToken
from pyat.foundation.identity import Principal
from pyat.foundation.ids import new_id
from pyat.foundation.service import Resources
from pyat.foundation.settings import PlatformSettings
from pyat.foundation.telemetry import configure_logging
from pyat.recordstore import functions
from pyat.services.airtable_gateway.contract import Records
from pyat.services.auth.contract import SCOPES, Account, AccountNotFound, Auth, InvalidTokenRequest
from pyat.services.schema.contract import Schema
from pyat.services.schema.store import SchemaStore

_log = structlog.get_logger("prepare")

DEFAULT_EMAIL = "admin@example.com"


def all_migrations() -> tuple[migrations.Migration, ...]:
    """Of every service, in the catalogue's order."""
    return tuple(found for entry in CATALOG for found in migrations.find(entry.name, entry.package))


async def migrate(database: Database) -> tuple[migrations.Migration, ...]:
    """Apply what is missing, also to the layouts of the bases there are; returns the migrations that were applied."""
    applied = await migrations.apply(database, all_migrations())
    is_new = await functions.install(database)
    await SchemaStore(database).upgrade_layouts(fits_computed=is_new)
    return applied


class FirstStart:
    """The administrator, a token with every scope, a workspace and the sample base; whatever is there already stays.

    The home remembers each step. Secrets are written there before they are used, so that an interrupted start goes on
    with the same ones; a step that is done is never done again, so that what was revoked or deleted stays so. A home
    that remembers more than the database has (its data was replaced) begins anew with the same secrets.
    """

    def __init__(self, settings: PlatformSettings, home: Home, auth: Auth, schema: Schema, records: Records) -> None:
        self._settings = settings
        self._home = home
        self._auth = auth
        self._schema = schema
        self._records = records
        self._known = home.credentials()

    async def run(self) -> None:
        """All steps that are missing. Raises AppError for settings that cannot be used."""
        account = await self._find(self._known.get("email"))
        if account is None:
            # A setting wins over what an earlier attempt wrote down: that attempt may have failed for it.
            email = self._settings.admin_email or self._known.get("email") or DEFAULT_EMAIL
            account = await self._find(email)
            if account is None:
                account = await self._create_administrator(email)
            else:
                await self._adopt(account)
        if "token_id" not in self._known:
            await self._create_token(account)
        if "sample_base_id" not in self._known:
            await self._create_bases(acting_for(account))

    def _remember(self, **known: str) -> None:
        self._known |= known
        self._home.keep_credentials(self._known)

    async def _find(self, email: str | None) -> Account | None:
        if email is None:
            return None
        try:
            return await self._auth.get_account(email=email)
        except AccountNotFound:
            return None

    async def _create_administrator(self, email: str) -> Account:
        chosen, known = self._settings.admin_password, self._known
        password = chosen.get_secret_value() if chosen else known.get("password") or secrets.token_urlsafe(12)
        self._known = {"token": known["token"]} if "token" in known else {}
        self._remember(email=email, password=password)
        return await self._auth.create_account(
            email=email, name="Administrator", password=password, tenant_name="My organisation"
        )

    async def _adopt(self, account: Account) -> None:
        """The database is older than this home: passwords are not known here, and its bases are not ours to add to."""
        token = self._settings.admin_token
        sample = await find_sample(acting_for(account), self._schema)
        self._known = {}
        self._remember(email=account.email, **({"sample_base_id": ""} if sample is None else _sample(sample)))
        if token is not None and not await self._is_valid(token.get_secret_value()):
            try:
                await self._create_token(account)
            except InvalidTokenRequest as error:
                # Mostly it was made by another home and revoked since, which has to last.
                _log.error("admin_token_not_made", reason=str(error))
                self._known.pop("token")
                self._remember(token_id="")

    async def _create_token(self, account: Account) -> None:
        chosen = self._settings.admin_token
        secret = chosen.get_secret_value() if chosen else self._known.get("token")
        secret = secret or f"{new_id('pat')}.{secrets.token_hex(32)}"
        self._remember(token=secret)
        if not await self._is_valid(secret):
            await self._auth.create_token(
                user_id=account.user_id,
                name="Administrator",
                scopes=tuple(sorted(SCOPES)),
                base_ids=None,
                expires_time=None,
                secret=secret,
            )
        self._remember(token_id=secret.partition(".")[0])

    async def _is_valid(self, secret: str) -> bool:
        try:
            await self._auth.authenticate(digest=hashlib.sha256(secret.encode()).hexdigest())
        except InvalidToken:
            return False
        return True

    async def _create_bases(self, principal: Principal) -> None:
        workspaces = await self._schema.list_workspaces(principal=principal)
        if workspaces:
            workspace = workspaces[0]
        else:
            workspace = await self._schema.create_workspace(principal=principal, name="My workspace")
        if self._settings.sample:
            made = await make_sample(principal, workspace.workspace_id, self._schema, self._records)
            self._remember(**_sample(made))
        else:
            self._remember(sample_base_id="")


def acting_for(account: Account) -> Principal:
    """The platform itself, acting for a user."""
    return Principal(
        user_id=account.user_id,
        tenant_id=account.tenant_id,
        email=account.email,
        name=account.name,
        credential_id=None,
        kind="service",
        scopes=SCOPES,
        base_ids=None,
    )


def _sample(base_id: str) -> dict[str, str]:
    return {"sample_base_id": base_id, "sample_base": BASE_NAME, "sample_table": TABLES[0].name}


async def prepare(settings: PlatformSettings, home: Home, resources: Resources) -> None:
    """Migrations and first start. Raises HomeError, AppError, MigrationChanged."""
    assert settings.valkey_url is not None, "open_resources has checked it"
    # The platform goes on without Valkey; but at a first start its address is probably wrong, and somebody is looking.
    if not home.prepared() and not await resources.cache.is_ready():
        raise unreachable("Valkey", settings.valkey_url.get_secret_value(), "PYAT_VALKEY_URL", "no answer")
    await migrate(resources.database)
    built = build_local(resources, tuple(BY_NAME))
    auth, schema, records = (built[name].implementation for name in ("auth", "schema", "airtable_gateway"))
    await FirstStart(settings, home, auth, schema, records).run()
    home.keep_prepared(preparation_stamp())


async def run() -> None:
    """Everything, in order."""
    settings = PlatformSettings()
    # The end of this log is what a person sees when the start fails, so little else is written to it.
    configure_logging(level="debug" if settings.log_level == "debug" else "error", service="prepare")
    home = Home(settings.home)
    home.prepare()
    async with open_resources(settings) as resources:
        await prepare(settings, home, resources)


def main() -> None:
    """Run it; ends with the supervisor. A declared error is one sentence and status 1."""
    watch_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        asyncio.run(run())
    except (AppError, HomeError, migrations.MigrationChanged) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
