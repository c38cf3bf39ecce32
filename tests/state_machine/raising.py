"""A callback that raises an exception, or ends the fit."""


class Raising:
    """A callback that raises an exception, or ends the fit, at the end of an epoch or the fit."""

    def __init__(self, task, epoch, ends):
        self.task, self.epoch, self.ends, self.count = task, epoch, ends, 0

    def setup(self, estimator, context):
        """Nothing to set up."""

    def teardown(self, estimator, context):
        """Nothing to tear down."""

    def on_fit_task_begin(self, estimator, context):
        """Wait for the end."""

    def on_fit_task_end(self, estimator, context):
        self.count += context.task_name == "epoch"
        if context.task_name != self.task or (self.task == "epoch" and self.count < self.epoch):
            return False
        if not self.ends:
            raise ArithmeticError
        return True
