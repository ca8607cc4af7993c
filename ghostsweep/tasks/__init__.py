"""What models are trained to do, a file a task: trials, loss, accuracy, and what outputs reach that know nothing."""

from ghostsweep.declare.model import Task
from ghostsweep.tasks import cues, delayed_activation, onehot

TASKS: dict[str, Task] = {
    task.name: task
    for task in (delayed_activation.TASK, cues.DCDT, cues.DMTS, onehot.TASK, onehot.SHOWN, onehot.CONTROL)
}

__all__ = ["TASKS"]
