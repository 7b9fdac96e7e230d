"""Findings: what the attacks' scores say, as frozen records of the report."""
