"""The operator's commands on data: migrations, tokens, organisations, imports. They work whether the platform runs or not."""

import secrets
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyat.assembly.offline import offline, servers
from pyat.foundation.errors import AppError
from pyat.foundation.ids import BaseId, TokenId, UserId
from pyat.foundation.settings import PlatformSettings
from pyat.services.auth.contract import SCOPES, Account, Auth
from pyat.services.schema.contract import Schema

_console = Console(highlight=False)


class NoAdministrator(AppError):
    """A command acts for the administrator, but none was made yet."""

    code, status = "NO_ADMINISTRATOR", 422
    template = "There is no administrator yet: start the platform once, or name somebody with --email."


async def migrate(settings: PlatformSettings) -> None:
    """Apply what is missing and say what it was."""
    from pyat.assembly.prepare import migrate as apply
    from pyat.assembly.process import open_resources

    with servers(settings) as (complete, _):
        async with open_resources(complete) as resources:
            applied = await apply(resources.database)
    for migration in applied:
        _console.print(f"applied {migration.service} {migration.number:04d} {migration.name}")
    if not applied:
        _console.print("Nothing to apply.")


async def create_token(
    settings: PlatformSettings, *, name: str, scopes: list[str] | None, base_ids: list[str] | None, email: str | None
) -> None:
    """Print the whole token; the only time it can be seen."""
    async with offline(settings) as platform:
        auth: Auth = platform.contract("auth")
        account = await _account(auth, email or platform.home.credentials().get("email"))
        issued = await auth.create_token(
            user_id=account.user_id,
            name=name,
            scopes=tuple(scopes or sorted(SCOPES)),
            base_ids=None if base_ids is None else tuple(BaseId(base_id) for base_id in base_ids),
            expires_time=None,
            secret=None,
        )
    print(issued.secret)


async def _account(auth: Auth, email: str | None) -> Account:
    if email is None:
        raise NoAdministrator
    return await auth.get_account(email=email)


async def list_tokens(settings: PlatformSettings, *, email: str | None) -> None:
    """A table of tokens without secrets."""
    async with offline(settings) as platform:
        auth: Auth = platform.contract("auth")
        user_id: UserId | None = None if email is None else (await _account(auth, email)).user_id
        tokens = await auth.list_tokens(user_id=user_id)
    # Without lines there is room for whole ids, which people copy, in a terminal of 80 columns.
    table = Table(box=None, pad_edge=False)
    for heading in ("token", "name", "user", "scopes", "bases", "last used"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("token", "user", "last used"))
    for token in tokens:
        scopes = "all" if set(token.scopes) == SCOPES else ", ".join(token.scopes)
        bases = "all" if token.base_ids is None else ", ".join(token.base_ids)
        used = "never" if token.last_used_time is None else f"{token.last_used_time:%Y-%m-%d %H:%M}"
        # Text, because a name may hold what looks like markup.
        table.add_row(*map(Text, (token.token_id, token.name, token.user_id, scopes, bases, used)))
    _console.print(table)


async def revoke_token(settings: PlatformSettings, *, token_id: str) -> None:
    """End a token."""
    async with offline(settings) as platform:
        auth: Auth = platform.contract("auth")
        await auth.revoke_token(token_id=TokenId(token_id.partition(".")[0]), user_id=None)
    _console.print(f"{token_id.partition('.')[0]} is revoked.")


async def create_tenant(settings: PlatformSettings, *, name: str, email: str) -> None:
    """A new organisation: its administrator, a token with every scope, a workspace. Each is printed when it is there."""
    password = secrets.token_urlsafe(12)
    async with offline(settings) as platform:
        from pyat.assembly.prepare import acting_for

        auth: Auth = platform.contract("auth")
        account = await auth.create_account(email=email, name="Administrator", password=password, tenant_name=name)
        print(f"administrator  {account.email}")
        print(f"password       {password}", flush=True)
        issued = await auth.create_token(
            user_id=account.user_id,
            name="Administrator",
            scopes=tuple(sorted(SCOPES)),
            base_ids=None,
            expires_time=None,
            secret=None,
        )
        print(f"token          {issued.secret}", flush=True)
        schema: Schema = platform.contract("schema")
        workspace = await schema.create_workspace(principal=acting_for(account), name="My workspace")
        print(f"workspace      {workspace.workspace_id}")


async def check_base(settings: PlatformSettings, *, base: str, repair: bool, email: str | None) -> int:
    """See `pyat.cli.check_base`, which does the work; returns the exit status."""
    from pyat.cli.check_base import run

    async with offline(settings) as platform:
        auth: Auth = platform.contract("auth")
        account = await _account(auth, email or platform.home.credentials().get("email"))
        return await run(platform.resources.database, platform.contract("schema"), account, base=base, repair=repair)


async def import_csv(
    settings: PlatformSettings,
    *,
    file: Path,
    base: str,
    table: str | None,
    keep_going: bool,
    delimiter: str | None,
    encoding: str | None,
    email: str | None,
    is_confirmed: bool,
) -> int:
    """See `pyat.cli.import_csv`, which does the work; returns the exit status."""
    from pyat.cli.import_csv import run

    async with offline(settings) as platform:
        auth: Auth = platform.contract("auth")
        account = await _account(auth, email or platform.home.credentials().get("email"))
        return await run(
            platform.resources.database,
            platform.contract("schema"),
            account,
            file=file,
            base=base,
            table=table,
            keep_going=keep_going,
            delimiter=delimiter,
            encoding=encoding,
            is_confirmed=is_confirmed,
        )
