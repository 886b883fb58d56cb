"""Loaded by the workers of a test: registration that takes no time, and stages that kill their process when told to.

The file ``poison/LABEL_STAGE`` of the dataset holds how often; it counts down.
"""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from standin import put_in_place

from dlqsm.cohort import stages


def deadly(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
    def run(about: Any, plan: Any, *more: Any) -> Any:
        label = about.person.label if stage == "nuclei" else f"{about.label}_{about.name}"
        dose = plan.bids / "poison" / f"{label}_{stage}"
        if dose.is_file() and (left := int(dose.read_text())) > 0:
            dose.write_text(str(left - 1))
            time.sleep(4.0)  # what Dask starts a worker with looks after it from then on
            os.kill(os.getpid(), signal.SIGKILL)
        return work(about, plan, *more)

    return run


put_in_place(setattr)
stages.measure_family = deadly("nuclei", stages.measure_family)
stages.reconstruct_arm = deadly("recon", stages.reconstruct_arm)
