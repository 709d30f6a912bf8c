"""The public operations of file."""

from pyat.foundation.clock import Clock
from pyat.foundation.web import Handlers
from pyat.services.file.routes import downloads, tus, uploads
from pyat.services.file.routes.downloads import DownloadRoutes
from pyat.services.file.routes.tus import TusRoutes
from pyat.services.file.routes.uploads import UploadRoutes
from pyat.services.file.service import FilesService
from pyat.services.file.service.uploads import Uploads

OPERATIONS = downloads.OPERATIONS + uploads.OPERATIONS + tus.OPERATIONS


def all_handlers(service: FilesService, resumable: Uploads, clock: Clock) -> Handlers:
    """The handlers of `OPERATIONS`, by name."""
    return {
        **DownloadRoutes(service, clock).handlers(),
        **UploadRoutes(service).handlers(),
        **TusRoutes(service, resumable).handlers(),
    }
