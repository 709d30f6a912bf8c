"""The public operations of schema, one module for each part of the API."""

from pyat.foundation.web import Handlers
from pyat.services.schema.contract import Schema
from pyat.services.schema.routes import redefining, structure, trash, views

OPERATIONS = (*structure.OPERATIONS, *views.OPERATIONS, *trash.OPERATIONS, *redefining.OPERATIONS)


def handlers(schema: Schema) -> Handlers:
    """The handler of every operation."""
    return {
        **structure.SchemaRoutes(schema).handlers(),
        **views.ViewRoutes(schema).handlers(),
        **trash.TrashRoutes(schema).handlers(),
        **redefining.RedefiningRoutes(schema).handlers(),
    }
