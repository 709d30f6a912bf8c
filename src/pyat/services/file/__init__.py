"""The service `file`: attachments by URL, by upload and by resumable upload; their bytes in an object store; signed URLs."""
