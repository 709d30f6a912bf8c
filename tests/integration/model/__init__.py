"""The services against a plain model of Airtable's rules."""
