"""Worked examples that belong to the checkout, not to the wheel."""
