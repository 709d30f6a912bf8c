"""The rules of comments: who may change one, whom a text mentions, how one looks on the wire (wire reference, section 8.1)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pyat.foundation.clock import wire_time
from pyat.foundation.errors import InvalidRequest
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, RecordId
from pyat.recordstore.errors import InvalidOffset
from pyat.recordstore.fieldtypes import User
from pyat.recordstore.structure import Base
from pyat.services.airtable_gateway.contract import CommentPage
from pyat.services.airtable_gateway.service.calls import Calls, table_of
from pyat.services.airtable_gateway.store.comments import Comment

COMMENT_LENGTH_MAX = 100_000
MENTIONS_MAX = 200
"""Different users that one comment mentions; further ones stay text."""
EMOJI_POINTS_MAX = 16

_MENTION = re.compile(r"@\[(usr[0-9A-Za-z]{14})\]")
_OFFSET = re.compile(r"com[0-9A-Za-z]{14}/([0-9]{1,18})", re.ASCII)
_EMOJI = re.compile(rf"[0-9a-f]{{2,6}}(-[0-9a-f]{{2,6}}){{0,{EMOJI_POINTS_MAX - 1}}}")


class CommentCalls(Calls):
    """The part of the contract about comments."""

    async def list_comments(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        record_id: RecordId,
        offset: str | None,
        rows_max: int,
    ) -> CommentPage:
        """See the contract."""

        async def work(base: Base) -> CommentPage:
            found = await self.store.comments(
                base, table_of(base, table), record_id, before=_before(offset), rows_max=rows_max + 1
            )
            shown = found[:rows_max]
            following = f"{shown[-1].comment_id}/{shown[-1].n}" if len(found) > rows_max else None
            return CommentPage(b",".join(await self._json(base_id, shown)), following)

        return await self.planned(principal, base_id, work)

    async def create_comment(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        record_id: RecordId,
        text: str,
        parent_id: str | None,
    ) -> bytes:
        """See the contract."""

        async def work(base: Base) -> bytes:
            its_table = table_of(base, table)
            await self._introduce(principal, base_id, text)
            comment = await self.store.add_comment(
                base, its_table, record_id, author_id=principal.user_id, body=_checked(text), parent_id=parent_id
            )
            return (await self._json(base_id, [comment]))[0]

        return await self.planned(principal, base_id, work)

    async def update_comment(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        record_id: RecordId,
        comment_id: str,
        text: str,
    ) -> bytes:
        """See the contract."""

        async def work(base: Base) -> bytes:
            its_table = table_of(base, table)
            await self._introduce(principal, base_id, text)
            comment = await self.store.change_comment(
                base, its_table, record_id, comment_id, user_id=principal.user_id, body=_checked(text)
            )
            return (await self._json(base_id, [comment]))[0]

        return await self.planned(principal, base_id, work)

    async def delete_comment(
        self, *, principal: Principal, base_id: BaseId, table: str, record_id: RecordId, comment_id: str
    ) -> None:
        """See the contract."""

        async def work(base: Base) -> None:
            await self.store.remove_comment(
                base, table_of(base, table), record_id, comment_id, user_id=principal.user_id
            )

        await self.planned(principal, base_id, work)

    async def react(
        self, *, principal: Principal, base_id: BaseId, comment_id: str, emoji: str, is_there: bool
    ) -> bytes:
        """See the contract."""
        code_points = _code_points(emoji)

        async def work(base: Base) -> bytes:
            table, record_id = await self.store.place_of_comment(base, comment_id)
            await self.people.introduce(base_id, principal)
            comment = await self.store.react(
                base, table, record_id, comment_id, user_id=principal.user_id, emoji=code_points, is_there=is_there
            )
            return (await self._json(base_id, [comment]))[0]

        return await self.planned(principal, base_id, work)

    async def _introduce(self, principal: Principal, base_id: BaseId, text: str) -> None:
        """Note in the base the author and whom the text mentions, as far as they are in the organisation."""
        mentioned = _mentions(text)
        known = (await self.people.users(principal.tenant_id)).by_id if mentioned else {}
        await self.people.introduce(base_id, principal, [known[user_id] for user_id in mentioned if user_id in known])

    async def _json(self, base_id: BaseId, comments: Sequence[Comment]) -> list[bytes]:
        named = {
            user_id
            for comment in comments
            for user_id in (comment.author_id, *_mentions(comment.body), *(by for _, by in comment.reactions))
        }
        users = await self.store.users(base_id, named) if named else {}
        return [orjson.dumps(_shown(comment, users)) for comment in comments]


def _shown(comment: Comment, users: Mapping[str, User]) -> dict[str, Any]:
    author = users.get(comment.author_id, User(comment.author_id, "", ""))
    found: dict[str, Any] = {
        "id": comment.comment_id,
        "text": comment.body,
        "createdTime": wire_time(comment.created_at),
        "lastUpdatedTime": None if comment.updated_at is None else wire_time(comment.updated_at),
        "author": {"id": author.user_id, "email": author.email, "name": author.name},
    }
    mentioned = [users[user_id] for user_id in _mentions(comment.body) if user_id in users]
    if mentioned:
        found["mentioned"] = {
            user.user_id: {
                "type": "user",
                "id": user.user_id,
                "displayName": user.name or user.email,
                "email": user.email,
            }
            for user in mentioned
        }
    if comment.parent_id is not None:
        found["parentCommentId"] = comment.parent_id
    if comment.reactions:
        found["reactions"] = [_reaction(emoji, users.get(by, User(by, "", ""))) for emoji, by in comment.reactions]
    return found


def _reaction(emoji: str, user: User) -> dict[str, Any]:
    return {
        "emoji": {"unicodeCharacter": emoji},
        "reactingUser": {"userId": user.user_id, "email": user.email, "name": user.name},
    }


def _mentions(text: str) -> list[str]:
    return list(dict.fromkeys(_MENTION.findall(text)))[:MENTIONS_MAX]


def _checked(text: str) -> str:
    if not 1 <= len(text) <= COMMENT_LENGTH_MAX or not text.strip():
        raise InvalidRequest(reason=f"text must have 1 to {COMMENT_LENGTH_MAX:,} characters.")
    if "\x00" in text:
        raise InvalidRequest(reason="text must not contain the character U+0000.")
    return text


def _before(offset: str | None) -> int | None:
    if offset is None:
        return None
    match = _OFFSET.fullmatch(offset)
    if match is None:
        raise InvalidOffset(offset=offset[:100])
    return int(match[1])


def _code_points(emoji: str) -> str:
    """The code points in lower case. Raises InvalidRequest; plain letters and digits are no emoji."""
    text = emoji.lower()
    points = [int(point, 16) for point in text.split("-")] if _EMOJI.fullmatch(text) else []
    is_valid = all(point <= 0x10FFFF and not 0xD800 <= point <= 0xDFFF for point in points)
    if not is_valid or max(points, default=0) < 0x80:
        raise InvalidRequest(reason="An emoji is given as hexadecimal code points joined by -, such as 2764-fe0f.")
    return text
