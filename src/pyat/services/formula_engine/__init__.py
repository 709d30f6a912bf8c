"""The service `formula_engine`: formulas checked, evaluated, explained, completed, laid out and translated.

Owns no data: what names mean it asks schema, what a record's cells hold it asks airtable_gateway.
"""
