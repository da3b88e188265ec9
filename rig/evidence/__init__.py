"""From a serial log and raw flash to a verdict that a person can check."""
