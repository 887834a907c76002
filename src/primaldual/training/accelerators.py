"""The Accelerator of a run: that of the launch with several processes, else one that nothing outside decides on."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DistributedType

from primaldual.errors import ArgumentError, UnsupportedError

_PROCESSES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Variables in which launchers tell the number of processes."""

_OURS = "ACCELERATE_"
_LAUNCHERS = ("LOCAL_RANK", *_PROCESSES)
_DEVICE = "ACCELERATE_TORCH_DEVICE"


@contextmanager
def run_accelerator(device: str | torch.device | None = None) -> Iterator[Accelerator]:
    """An Accelerator for one run.

    Of several processes it is that of ``accelerate launch`` or ``torchrun``, with all that the launch says. In one
    process the run depends on its arguments alone: variables ``ACCELERATE_*`` and an Accelerator that the caller made
    are set aside and put back.

    Args:
        device: where to train, such as "cpu" or "cuda:1"; None = a GPU where there is one.

    Raises:
        ArgumentError: a device that cannot be used, or one given to several processes.
        UnsupportedError: FSDP of version 1, or on CPUs, where Accelerate would leave it out without a word.

    Example:
        >>> with run_accelerator("cpu") as accelerator:
        ...     accelerator.device, accelerator.num_processes
        (device(type='cpu'), 1)
    """
    chosen = None if device is None else usable_device(device)
    if _processes() > 1:
        if chosen is not None:
            raise ArgumentError(
                f"device must be None where several processes train, which have a device each; got {device!r}"
            )
        accelerator = Accelerator()
        _check_sharding(accelerator)
        if accelerator.gradient_accumulation_steps != 1:
            raise ArgumentError(
                "gradient accumulation must be left to accumulation, which also fits batches to it; the launch asks for "
                f"{accelerator.gradient_accumulation_steps} steps"
            )
        yield accelerator
        return
    with ExitStack() as aside:
        aside.enter_context(_without_variables())
        for kind in (AcceleratorState, PartialState, GradientState):
            aside.enter_context(_anew(kind._shared_state))
        if chosen is not None:
            os.environ[_DEVICE] = str(chosen)
        yield Accelerator(mixed_precision="no")


def leave_processes() -> None:
    """End the exchange with the other processes of a launch, after the last run; without any, do nothing.

    Example:
        >>> leave_processes()
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def usable_device(device: object) -> torch.device:
    """A device that tensors can be made on.

    Raises:
        ArgumentError: no device, or one that is not there.
    """
    try:
        if not isinstance(device, str | torch.device):
            raise TypeError("a name such as 'cpu' is needed")
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ArgumentError(f"device {device!r} cannot be used: {reason}") from error
    if found.type == "meta":
        raise ArgumentError(
            "device 'meta' holds no numbers; accepted are devices that compute, such as 'cpu'"
        )
    return found


def _check_sharding(accelerator: Accelerator) -> None:
    sharded = accelerator.distributed_type == DistributedType.FSDP
    if sharded and not accelerator.is_fsdp2:
        raise UnsupportedError("FSDP must be of version 2; launch with --fsdp_version 2")
    if not sharded and os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise UnsupportedError(
            f"FSDP needs accelerators; this launch trains on {accelerator.device.type}: leave --use_fsdp out"
        )


def _processes() -> int:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return max(int(found) if (found := os.environ.get(name, "")).isdecimal() else 1 for name in _PROCESSES)


@contextmanager
def _without_variables() -> Iterator[None]:
    former = {
        name: value for name, value in os.environ.items() if name.startswith(_OURS) or name in _LAUNCHERS
    }
    for name in former:
        del os.environ[name]
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith(_OURS)]:
            del os.environ[name]
        os.environ.update(former)


@contextmanager
def _anew(shared: dict[str, object]) -> Iterator[None]:
    """An empty dictionary for the while; every Accelerator of a process shares it, so it is changed in place."""
    former = dict(shared)
    shared.clear()
    try:
        yield
    finally:
        shared.clear()
        shared.update(former)
