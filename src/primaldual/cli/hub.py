"""Whether the Hugging Face hub has a model, asked once."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from primaldual.data.places import near, user_path
from primaldual.errors import CheckpointError

SECONDS = 10.0
"""How long the hub may take to answer."""


def check_on_hub(model: str) -> None:
    """Refuse a name that is neither a folder here, nor downloaded already, nor on the hub.

    Loading it would try again and again, for each of its files.

    Raises:
        CheckpointError: there is no such model, or the hub cannot be reached.
    """
    path = user_path(model)
    if model.startswith("timm:") or path.exists() or find_spec("huggingface_hub") is None:
        return
    if not model or model.startswith((".", "/", "~")) or model.count("/") > 1 or "\\" in model:
        return  # only a path can be meant, and its message comes from there
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        if isinstance(try_to_load_from_cache(model, "config.json"), str):
            return
        HfApi().model_info(model, timeout=SECONDS)
    except (HfHubHTTPError, HFValidationError):
        why = "the Hugging Face hub has no such model, or it is private"
    except Exception as error:  # the errors of its network library, by version
        why = f"the Hugging Face hub cannot be reached ({type(error).__name__})"
    else:
        return
    raise CheckpointError(f"model {model}: there is no folder of this name, and {why}{near(Path(path))}")
