"""Which backends of scaled_dot_product_attention a computation may use."""

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

import torch


class _WithoutCudnn:
    def __enter__(self) -> None:
        torch.backends.cuda.enable_cudnn_sdp(False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.backends.cuda.enable_cudnn_sdp(True)


def plans_each_length(device: torch.device) -> bool:
    """Whether attention on a device may take the cuDNN backend, which plans a kernel, for 60 ms, at each new length."""
    return device.type == "cuda" and torch.backends.cuda.cudnn_sdp_enabled()


def without_cudnn(device: torch.device) -> AbstractContextManager[object]:
    """A context in which lengths that grow cost no plans; free of cost where there are none anyway."""
    return _WithoutCudnn() if plans_each_length(device) else nullcontext()
