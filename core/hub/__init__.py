"""Models from the Hugging Face hub, and to it."""
