"""Why a model can't be loaded, in one sentence, from what transformers and the hub say of it."""

from __future__ import annotations

from dipole.files.paths import given_path
from dipole.models.sources import is_name


def unreachable(model: str, error: Exception) -> str:
    """The sentence for what was raised while a model was looked for or read."""
    first = first_line(error)
    lower = str(error).lower()
    if "trust_remote_code" in lower:
        return (
            f"{model} needs Python code from its own repository to run; read that code, and if you trust it, "
            "ask for it with trust_remote_code=True."
        )
    if is_name(model) or given_path(model).is_dir():
        return _broken_folder(model, first, lower)
    if "gated" in lower or "401" in lower or "403" in lower:
        return (
            f"The hub refuses {model!r}: {first} Accept its licence on its page, and log in with "
            "`hf auth login`."
        )
    return (
        f"The model {model!r} can't be loaded from the Hugging Face hub: the id is unknown there, or this "
        f"machine is offline and has no copy in its cache ({first}). Check the spelling, connect, give a "
        "local folder with the model, or use a bundled LM: model='tiny'."
    )


def _broken_folder(model: str, first: str, lower: str) -> str:
    folder = given_path(model)
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]
    if folder.is_dir() and not weights:
        pickles = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        if pickles:
            return (
                f"{model} holds no model.safetensors. Pickled weights ({pickles[0].name}) can run code when "
                "they are read, so they are refused; convert them with save_pretrained."
            )
        if "tokenizer" not in lower:
            return f"{model} holds no weights; wanted model.safetensors there."
    return (
        f"The model in {model} can't be read: {first.rstrip('.')}. A file there is missing, truncated or "
        "corrupt; copy it again from where it came from."
    )


def first_line(error: BaseException) -> str:
    """The first line that an error says, or its class."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip()[:300] if lines else type(error).__name__
