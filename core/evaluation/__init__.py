"""How far a model can be trusted: against kriging, against its image, on one's own data."""
