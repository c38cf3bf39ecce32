"""A state machine of an estimator: rules, the model of what must hold, planted faults."""
