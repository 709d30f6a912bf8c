"""What nobody needs is deleted, and nothing else."""

import asyncio
import os
import time

from pyat.foundation.sql import Statement, quote
from pyat.recordstore import attachments
from pyat.recordstore.attachments import KEPT_AFTER_RELEASE, KEPT_UNCLAIMED, Claim
from pyat.services.file.contract import UrlItem
from pyat.services.file.service.sweeping import CONTENT_KEPT
from tests.support.files import Bench

ACTOR = "usr00000000000001"
DAY = 86_400


def _claim(bench: Bench, attachment_id: str, record: int = 1) -> Claim:
    return Claim(attachment_id, "tbl00000000000001", bench.field_id, f"rec{record:014}")


async def _stored(bench: Bench, data: bytes = b"bytes") -> str:
    return await bench.files.store_bytes(base_id=bench.base_id, filename="a", content_type=None, data=data, actor=ACTOR)


async def _claimed(bench: Bench, *claims: Claim) -> frozenset[str]:
    async with bench.database.transaction() as connection:
        return await attachments.claim(connection, bench.base_id, claims)


async def _released(bench: Bench, *ids: str) -> None:
    async with bench.database.transaction() as connection:
        await attachments.release(connection, bench.base_id, ids, now=bench.clock.now())


async def test_what_no_cell_claims_goes_after_a_day_and_its_bytes_after_another(bench: Bench) -> None:
    made = await _stored(bench)
    bench.later(seconds=KEPT_UNCLAIMED.total_seconds())
    await bench.sweeper.sweep()
    assert await bench.row(made) is not None
    bench.later(seconds=1)
    await bench.sweeper.sweep()
    assert await bench.row(made) is None
    bench.later(seconds=CONTENT_KEPT.total_seconds() + 1)
    await bench.sweeper.sweep()
    assert bench.objects() == []
    assert await bench.store.old_contents(bench.clock.now(), 10) == []


async def test_what_a_cell_holds_stays(bench: Bench) -> None:
    made = await _stored(bench)
    assert await _claimed(bench, _claim(bench, made)) == {made}
    for _ in range(40):
        bench.later(days=1)
        await bench.sweeper.sweep()
    assert await bench.row(made) is not None
    assert len(bench.objects()) == 1


async def test_what_a_cell_let_go_of_stays_a_week_and_can_be_claimed_again(bench: Bench) -> None:
    kept, lost = await _stored(bench, b"kept"), await _stored(bench, b"lost")
    await _claimed(bench, _claim(bench, kept), _claim(bench, lost))
    await _released(bench, kept, lost)
    bench.later(seconds=KEPT_AFTER_RELEASE.total_seconds() - 1)
    await bench.sweeper.sweep()
    assert await _claimed(bench, _claim(bench, kept)) == {kept}
    bench.later(seconds=2)
    await bench.sweeper.sweep()
    assert await bench.row(kept) is not None
    assert await bench.row(lost) is None
    bench.later(seconds=CONTENT_KEPT.total_seconds() + 1)
    await bench.sweeper.sweep()
    assert len(bench.objects()) == 1


async def test_bytes_stay_while_any_attachment_has_them(bench: Bench) -> None:
    first, second = await _stored(bench), await _stored(bench)
    await _claimed(bench, _claim(bench, first))
    bench.later(days=3)
    await bench.sweeper.sweep()
    bench.later(days=3)
    await bench.sweeper.sweep()
    assert await bench.row(second) is None
    assert len(bench.objects()) == 1


async def test_bytes_of_a_base_that_is_gone_go(bench: Bench) -> None:
    await _claimed(bench, _claim(bench, await _stored(bench)))
    await bench.database.run(Statement("drop", f"DROP SCHEMA {quote(bench.base_id)} CASCADE"))
    bench.later(seconds=CONTENT_KEPT.total_seconds() + 1)
    await bench.sweeper.sweep()
    assert bench.objects() == []


async def test_what_a_removed_field_held_goes_a_week_later(bench: Bench) -> None:
    made = await _stored(bench)
    await _claimed(bench, _claim(bench, made))
    fields = quote(bench.base_id, "base_fields")
    await bench.database.run(Statement("trash", f"UPDATE {fields} SET deleted_at = now()"))
    bench.later(days=30)
    await bench.sweeper.sweep()
    row = await bench.row(made)
    assert row is not None and row.released_at is None, "a field in the trash can be restored"
    await bench.database.run(Statement("remove", f"DELETE FROM {fields}"))
    await bench.sweeper.sweep()
    bench.later(seconds=KEPT_AFTER_RELEASE.total_seconds() + 1)
    await bench.sweeper.sweep()
    assert await bench.row(made) is None


async def test_bytes_that_come_again_are_not_deleted(bench: Bench) -> None:
    await _stored(bench)
    bench.later(days=2)
    await bench.sweeper.sweep()
    again = await _stored(bench)
    await bench.sweeper.sweep()
    assert len(bench.objects()) == 1
    assert await bench.row(again) is not None


async def test_bytes_that_come_while_they_are_deleted_are_there_afterwards(bench: Bench) -> None:
    await _stored(bench)
    bench.later(days=3)
    old = await bench.store.old_contents(bench.clock.now(), 10)
    async with bench.store.deleting_content(old[0], bench.clock.now()) as thumbnails:
        assert thumbnails == {}
        storing = asyncio.create_task(_stored(bench))
        await asyncio.sleep(0.05)
        await bench.object_store.delete(bench.objects()[:1])
    await storing
    assert [name for name in bench.objects() if name.startswith("contents/")] == [f"contents/{old[0][:2]}/{old[0]}"]
    assert await bench.store.touch_content(old[0], bench.clock.now()) is not None


async def test_bytes_whose_object_was_lost_are_stored_anew(bench: Bench) -> None:
    await _stored(bench)
    names = bench.objects()
    await bench.object_store.delete(names)
    await _stored(bench)
    assert bench.objects() == names


async def test_fetches_of_deleted_attachments_end(bench: Bench) -> None:
    await bench.files.register_urls(base_id=bench.base_id, items=(UrlItem("http://x.example/"),), actor=ACTOR)
    bench.later(days=2)
    await bench.sweeper.sweep()
    assert await bench.files.waiting() == 0


async def test_files_of_processes_that_died_are_cleared(bench: Bench) -> None:
    spool = bench.object_store.spool
    old, new = spool / "old", spool / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    before = time.time() - 2 * DAY
    os.utime(old, (before, before))
    await bench.sweeper.sweep()
    assert (old.exists(), new.exists()) == (False, True)


async def test_a_cell_cannot_take_anothers_attachment_but_a_copy(bench: Bench) -> None:
    made = await _stored(bench)
    assert await _claimed(bench, _claim(bench, made, 1)) == {made}
    assert await _claimed(bench, _claim(bench, made, 1)) == {made}
    assert await _claimed(bench, _claim(bench, made, 2), _claim(bench, "attMissingMissing")) == frozenset()
    async with bench.database.transaction() as connection:
        claims = [_claim(bench, "attMissingMissing", 2), _claim(bench, made, 2)]
        copied = await attachments.copy(connection, bench.base_id, claims, actor=ACTOR, now=bench.clock.now())
    assert list(copied) == [1] and copied[1] != made
    first, second = await bench.row(made), await bench.row(copied[1])
    assert first is not None and second is not None
    assert (first.content, first.record_id[-1:] if first.record_id else "") == (second.content, "1")
    assert second.record_id == "rec00000000000002"
