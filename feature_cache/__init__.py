"""Features at rest."""
