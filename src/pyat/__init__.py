"""PyAirtable: a self-hosted platform that speaks the Airtable Web API."""

__version__ = "0.1.0"
