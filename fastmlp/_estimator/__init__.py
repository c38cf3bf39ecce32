"""What the estimators share: parameters, targets, fitted state."""
