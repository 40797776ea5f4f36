"""The step down a gradient, and the numbers that tell whether it was a good one."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from preference.core.errors import InputError
from preference.core.optimization import Optimization
from preference.model import cpu
from preference.model.scorer import ResponseLogps
from preference.objectives.objective import Task
from preference.objectives.steps import step_metrics
from preference.runtime import processes
from preference.runtime.ahead import Numbers
from preference.runtime.session import Agreement, Session, agreement
from preference.store.scores import Metrics
from preference.training import optimizers


class Taken(NamedTuple):
    """A step that was taken, and what there is to tell of it, as soon as that is read.

    Attributes:
        number: of the step, the first one is 1.
        items: what it is over.
        rate: the learning rate.
        numbers: the gradient's norm, then what was exchanged: the loss, its `step_sums`.
    """

    number: int
    items: np.ndarray
    rate: float
    numbers: Numbers

    @property
    def agreed(self) -> Agreement:
        return agreement(self.numbers.read[1:])

    def metrics(self) -> Metrics:
        (loss, *sums), norm = self.agreed.totals, self.numbers.read[0]
        told = {"loss": loss, "learning_rate": self.rate, "grad_norm": norm}
        return told | step_metrics(sums)


class Update:
    """AdamW and its schedule, with the model as it is distributed; clips the gradients' norm.

    A step whose loss or gradient is not finite is found before it is taken or, where reading them
    would make a GPU wait, by `require_good` before anything is kept of it.

    Args:
        steps: of the whole training.
    """

    def __init__(
        self,
        scorer: ResponseLogps,
        task: Task,
        settings: Optimization,
        session: Session,
        steps: int,
    ) -> None:
        self._session, self._task, self._clip = session, task, settings.max_grad_norm
        accelerator = session.accelerator
        scorer = processes.divided(accelerator, scorer)
        # Under fp16's scaler a fused optimizer would hide skipped steps.
        optimizer = optimizers.make(scorer, settings, fused=accelerator.scaler is None)
        self.schedule = optimizers.schedule(optimizer, settings, steps)
        cpu.accumulate_in_place(scorer.model, accelerator)
        self.model: nn.Module
        if processes.sharded(accelerator):
            self.model, self._optimizer = scorer, accelerator.prepare_optimizer(optimizer)
        else:
            self.model, self._optimizer = accelerator.prepare(scorer, optimizer)
        torch.manual_seed(session.params.seed + accelerator.process_index)

    @property
    def moments(self) -> int:
        """Bytes that the optimizer is going to keep in this process: two values a weight."""
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        return 2 * sum(processes.own(weight).nbytes for weight in trained)

    def step(self, share: Tensor, items: np.ndarray) -> Taken:
        """Take one step down the gradients that are there.

        Args:
            share: this process's of the loss and its `step_sums`, (9,).
            items: what it is over.
        """
        accelerator, session = self._session.accelerator, self._session
        exchanged = session.exchange(share)
        # What accelerate does, which unscales twice where it has not prepared the model itself.
        accelerator.unscale_gradients()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self._clip)
        norm = processes.whole(norm).detach().to(exchanged)
        numbers = Numbers(torch.cat([norm[None], exchanged]))
        rate = float(self.schedule.get_last_lr()[0])
        taken = Taken(self.schedule.last_epoch + 1, items, rate, numbers)
        if not session.overlap:
            self.require_good(taken)
        self._optimizer.step()
        cpu.clear(self.model.parameters())
        if not accelerator.optimizer_step_was_skipped:
            self.schedule.step()
        return taken

    def require_good(self, taken: Taken) -> None:
        """Wait for a step's numbers, and stop if they are not finite.

        Raises:
            InputError: the message names the step and the rows.
        """
        session = self._session
        loss, norm = taken.agreed.totals[0], taken.numbers.read[0]
        # In fp16 the scaler skips steps whose gradients overflow, and scales less.
        if not math.isfinite(loss) or not (math.isfinite(norm) or session.accelerator.scaler):
            raise InputError(
                f"{session.stage}: the loss is {loss}, the gradient's norm {norm} at step "
                f"{taken.number} (rows {self._task.rows(taken.items)} of the training "
                "data); lower the learning rate, or use fp32 or bf16" + session.checkpoints.kept()
            )
