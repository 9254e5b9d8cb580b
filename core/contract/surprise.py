"""How surprising an observation was to the model, in classes and colours."""

SURPRISE_CLASSES = (
    (0.1, "#9e2a2b", "under 10 %"),
    (0.25, "#e07a3f", "10 to 25 %"),
    (0.5, "#f0c674", "25 to 50 %"),
    (0.75, "#8fb8d0", "50 to 75 %"),
    (1.0, "#2f6690", "75 % and more"),
)
"""Upper limit, colour and label of classes of the probability given to what was observed, on page and map alike."""
