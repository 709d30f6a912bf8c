"""Files that come in the body of a request."""

from pyat.foundation.errors import ModelNotFound
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, RecordId
from pyat.recordstore.errors import InvalidValue, RowDoesNotExist, UnknownFieldName
from pyat.recordstore.structure import Base
from pyat.services.airtable_gateway.contract import FileTooLarge
from pyat.services.airtable_gateway.service.calls import Calls
from pyat.services.airtable_gateway.store.records import ATTACHMENTS

UPLOAD_BYTES_MAX = 5 * 1024 * 1024


class FileCalls(Calls):
    """The part of the contract about files."""

    async def upload_attachment(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        record_id: RecordId,
        field: str,
        filename: str,
        content_type: str | None,
        data: bytes,
    ) -> bytes:
        """See the contract."""
        if len(data) > UPLOAD_BYTES_MAX:
            raise FileTooLarge

        async def work(base: Base) -> bytes:
            table = await self.store.table_of_record(base, record_id)
            if table is None:
                raise ModelNotFound(kind="Record")
            own = table.find_field(field)
            if own is None:
                raise UnknownFieldName(field=field)
            if own.type != ATTACHMENTS:
                raise InvalidValue(field=own.name)
            attachment_id = await self.files.store_bytes(
                base_id=base_id,
                filename=filename,
                content_type=content_type,
                data=data,
                actor=principal.user_id,
            )
            try:
                return await self.store.append_attachment(
                    base, table, own, record_id, attachment_id, user_id=principal.user_id
                )
            except RowDoesNotExist:
                raise ModelNotFound(kind="Record") from None

        return await self.planned(principal, base_id, work)
