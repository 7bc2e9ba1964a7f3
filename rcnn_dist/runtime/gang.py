"""Processes that work together on one thing: Ray Train starts them and joins them by torch.distributed."""

import logging
import uuid
from collections.abc import Callable

from rcnn_dist.config import RuntimeSection
from rcnn_dist.errors import ClusterError, RcnnError
from rcnn_dist.runtime.pools import RESOURCE_NAMES, worker_resources
from rcnn_dist.runtime.threads import set_threads
from rcnn_dist.store import files

logger = logging.getLogger(__name__)

MAX_DEATHS = 10


def run_gang(work: Callable[[], None], workers: int, runtime: RuntimeSection, storage: str) -> None:
    """Runs `work` in every one of `workers` processes, on a GPU each where the cluster has them; NCCL joins GPUs, gloo CPUs.

    A process that dies ends all of them, and all start again, up to 10 times: `work` must go on where it was.

    Args:
        storage: a folder or URL that all nodes reach, for Ray Train's own bookkeeping; removed at the end.

    Raises:
        RcnnError: the work raised it.
        ClusterError: the processes died too often.
    """
    reason = ""
    local = files.local_path(storage)
    try:
        for _ in range(MAX_DEATHS):
            error = _failure(work, workers, runtime, str(local.absolute()) if local else storage)
            if error is None:
                return
            if own := _own_error(error):
                raise own from None
            reason = str(error).splitlines()[0]
            logger.warning("the %d processes of the training ended (%s) and start again", workers, reason)
    finally:
        files.remove_folder(storage)
    raise ClusterError(
        f"the {workers} processes of the training died {MAX_DEATHS} times, at last: {reason}; Ray's logs hold their last words"
    )


def _failure(work: Callable[[], None], workers: int, runtime: RuntimeSection, storage: str) -> Exception | None:
    """One start of all processes; why it failed, None where all came to their end."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    needs = {RESOURCE_NAMES[option]: amount for option, amount in worker_resources(runtime).items() if amount}

    def loop() -> None:
        set_threads(runtime.threads_per_worker)
        work()

    trainer = TorchTrainer(
        loop,
        torch_config=TorchConfig(backend="nccl" if "GPU" in needs else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu="GPU" in needs, resources_per_worker=needs),
        run_config=RunConfig(name=f"gang-{uuid.uuid4().hex}", storage_path=storage),
    )
    try:
        trainer.fit()
    except Exception as error:  # Ray Train's own types change between versions
        return error
    return None


def _own_error(error: BaseException | None) -> RcnnError | None:
    """The error of ours that another one was raised for."""
    seen: list[BaseException | None] = [error]
    while seen:
        found = seen.pop()
        if isinstance(found, RcnnError):
            return found
        if found is not None:
            seen += [found.__cause__, getattr(found, "cause", None), *getattr(found, "worker_failures", {}).values()]
    return None
