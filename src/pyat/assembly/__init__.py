"""The only code that knows all services: what there is, which of it runs where, and who keeps it running."""
