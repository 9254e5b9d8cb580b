"""From a training image, or a prior of random fields, to a model."""
