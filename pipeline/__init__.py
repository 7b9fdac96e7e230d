"""Measure how well an outsider can tell which records a classifier was trained on.

Conventions that hold in every module:

* A score is higher for a likelier member, always.
* Rates lie in [0, 1], never in percent; losses, margins and log ratios are in nats.
* Arrays of several models and records have the axes ``(n_models, n_records, ...)``.
"""
