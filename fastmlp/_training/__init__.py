"""The fit loops: stochastic gradient descent and L-BFGS, schedules, history, validation."""
