"""Load a causal language model: a bundled LM, a local folder, or an id on the Hugging Face hub."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipole.files import settled
from dipole.files.paths import given_path, tell_shadowed
from dipole.files.reader import COPY_AGAIN
from dipole.models.resident import TransformersResident
from dipole.models.turns import process_lock
from dipole.tensors import align_parameters
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

BUNDLED = ("tiny", "mini")
_BROKEN = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AssertionError)
_DTYPES = ("auto", "float32", "bfloat16", "float16")
_LOADING = process_lock()  # transformers changes global settings while it loads, and so does `_quiet`


def load(
    model: str = "tiny",
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    special_tokens_in_text: bool = False,
    plain: bool = False,
) -> LM:
    """Load a causal language model as an `LM`.

    Args:
        model: `tiny` (the default) or `mini`, which are bundled (`./tiny` is a folder); a local folder in the
            Hugging Face format; an id on the hub, downloaded by the ordinary `from_pretrained`; or a folder
            that `dipole.save` wrote, whose interventions are then applied.
        dtype: `auto` keeps what the checkpoint stores on an accelerator and takes float32 on a CPU, or
            float32, bfloat16, float16.
        device: `auto` takes the accelerator that there is, a device name such as `cuda:1` or `cpu` takes
            that one, and `spread` shares the layers among all of them (accelerate's device map).
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run Python code from the model's own repository; off unless asked for.
        special_tokens_in_text: Read a special token that a text spells, such as `</s>` or `<|im_end|>`, as
            that token, as tokenizers do; by default it is text like any other, in prompts, in turns of a chat
            and in texts to score.
        plain: Take prompts as text to continue. By default a model whose tokenizer has a chat template reads
            them as what the user says in a chat, and answers as the assistant.

    Raises:
        UserError: The model can't be found or reached, is not a causal LM, or is broken.
    """
    from dipole import lm
    from dipole.interventions.saved import LM_FILE

    if dtype not in _DTYPES:
        raise UserError(f"dtype {dtype!r} is not known; use one of {', '.join(_DTYPES)}.")
    if revision is not None and not revision.strip():
        raise UserError("The revision is an empty string; give a branch, tag or commit, or leave it out.")
    if model in BUNDLED:
        tell_shadowed(model, "the bundled LM")
    elif model.strip():
        folder = given_path(model, "The model")
        settled(folder)
        if (folder / LM_FILE).is_file():
            return _load_saved(folder, dtype, device, trust_remote_code, special_tokens_in_text, plain)
    source = _source(model)
    target = _device(device)
    with _LOADING, _quiet():
        _refuse_other_heads(source, model, revision, trust_remote_code)
        net, tokenizer, facts = _load_parts(source, model, dtype, target, revision, trust_remote_code)
        commit = getattr(net.config, "_commit_hash", None)
        resident = TransformersResident(net, tokenizer, model, commit, special_tokens_in_text, plain)
        resident.probe.require()
        _refuse_unfilled(model, facts)
        return lm.LM(resident)


def _load_saved(
    folder: Path, dtype: str, device: str, trust_remote_code: bool, special_tokens_in_text: bool, plain: bool
) -> LM:
    """The LM that `dipole.save` wrote: its model, and its interventions in their order."""
    from dipole.interventions.saved import LM_FILE, read_saved

    saved = read_saved(folder)
    if saved.model not in BUNDLED and (given_path(saved.model) / LM_FILE).is_file():  # perhaps itself
        raise UserError(
            f"{folder / LM_FILE} names {saved.model} as its model, which is no model but a saved LM; "
            f"{COPY_AGAIN}."
        )
    plain = plain or saved.plain
    lm = load(saved.model, dtype, device, saved.revision, trust_remote_code, special_tokens_in_text, plain)
    if lm.resident.fingerprint != saved.fingerprint:
        raise UserError(
            f"{folder} was made for {saved.model} with the fingerprint {saved.fingerprint}, but the model of "
            f"that name now has {lm.resident.fingerprint}; get the model that it was made for."
        )
    for part, strength in saved.parts:
        lm = part.apply(lm, strength)
    return lm


def _source(model: str) -> str:
    """What `from_pretrained` is given: a folder that exists, or a hub id."""
    if not model.strip():
        raise UserError("The model is an empty string; give a hub id, a folder, or a bundled LM: tiny, mini.")
    if model in BUNDLED:
        folder = Path(str(resources.files("dipole.models") / "bundled" / model))
        if not (folder / "config.json").is_file():
            raise UserError(
                f"The bundled LM {model!r} is missing from this installation; install dipole again."
            )
        return str(folder)
    path = given_path(model, "The model")
    if not (path.is_absolute() or model.startswith((".", "~")) or path.exists() or model.count("/") > 1):
        return model
    if (path / "config.json").is_file():
        return str(path)
    if any((path / name / "adapter_config.json").is_file() for name in (".", "adapter")):
        raise UserError(
            f"{model} is an adapter, not a whole model: give it as --intervention {model}, and the model "
            "that it was made for as --model."
        )
    what = "has no config.json" if path.is_dir() else "is a file" if path.exists() else "does not exist"
    raise UserError(
        f"{model} {what}; wanted a folder in the Hugging Face format (config.json, model.safetensors, "
        "tokenizer.json), a hub id such as gpt2, or a bundled LM: tiny, mini."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, log lines or deprecation warnings of transformers while a model is loaded."""
    from transformers.utils import logging as quietable

    logging: Any = quietable  # it has no types
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _refuse_other_heads(source: str, model: str, revision: str | None, trust_remote_code: bool) -> None:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=trust_remote_code)
    except _BROKEN as error:
        raise UserError(_unreachable(model, error)) from error
    except AttributeError as error:  # a config.json that holds something else than an object
        raise UserError(_unreachable(model, error)) from error
    remote = trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if not remote and not has_language_head(config):
        architectures = getattr(config, "architectures", None) or [config.model_type or "of an unknown kind"]
        raise UserError(
            f"{model} is {architectures[0]}, which is not a causal (left-to-right) language model; dipole "
            "needs one that AutoModelForCausalLM loads, such as gpt2, meta-llama/Llama-3.2-1B or the bundled "
            "tiny."
        )


def has_language_head(config: Any) -> bool:
    """Whether transformers can build a language model of text from a checkpoint with this config.

    Names decide no more than that: a family without a causal class, an encoder with a decoder behind it, and
    a checkpoint whose class ends in a head of another kind, such as a classifier's, are none. Whether what
    is built reads from left to right is tried on the model itself (`Probe`), whatever its class is called.
    """
    from transformers.models.auto import modeling_auto as auto

    if config.model_type not in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return False
    if getattr(config, "is_encoder_decoder", False):
        return False
    others = (
        auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
        auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES,
        auto.MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES,
    )
    # A wrapper of sharded training puts its own name in front.
    heads = tuple(name for names in others for name in names.values())
    return not any(str(name).endswith(heads) for name in getattr(config, "architectures", None) or ())


def _load_parts(
    source: str, model: str, dtype: str, target: str, revision: str | None, trust_remote_code: bool
) -> tuple[Any, Any, dict[str, Any]]:
    """Model, tokenizer, and what the loading of the weights found."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    wanted: Any = torch.float32 if dtype == "auto" and target == "cpu" else dtype
    placement = {"device_map": "auto"} if target == "spread" else {}
    common: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source, dtype=wanted, use_safetensors=True, output_loading_info=True, **placement, **common
        )
    except _BROKEN as error:
        raise UserError(_unreachable(model, error)) from error
    except Exception as error:
        # safetensors and tokenizers raise bare Exceptions from Rust on a truncated or corrupt file.
        if type(error) is not Exception and type(error).__module__.split(".")[0] not in {
            "safetensors",
            "tokenizers",
        }:
            raise
        raise UserError(_unreachable(model, error)) from error
    net, facts = loaded
    _refuse_no_tokenizer(model, tokenizer, net)
    if target != "spread":
        net = net.to(target)
    align_parameters(net)
    net.eval()
    net.requires_grad_(False)
    return net, tokenizer, facts


def _refuse_unfilled(model: str, facts: dict[str, Any]) -> None:
    missing = sorted(facts.get("missing_keys") or [])
    mismatched = sorted(str(key) for key in facts.get("mismatched_keys") or [])
    if missing or mismatched:
        first = (missing or mismatched)[0]
        raise UserError(
            f"The checkpoint of {model} does not fill the whole model: {len(missing) + len(mismatched)} "
            f"tensors are missing or have another shape (first: {first}), and would be random; get a whole "
            "checkpoint of a causal language model."
        )


def _refuse_no_tokenizer(model: str, tokenizer: Any, net: Any) -> None:
    rows = net.get_input_embeddings().weight.shape[0]
    ids = tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"]
    if not ids or len(tokenizer) <= len(tokenizer.all_special_ids):
        raise UserError(
            f"{model} has no usable tokenizer; put its tokenizer.json into the folder of the model."
        )
    head = getattr(net.get_output_embeddings(), "weight", None)
    if head is not None and head.shape[0] > rows:
        raise UserError(
            f"{model} can write {head.shape[0]} tokens and read only {rows} of them, so it can't go on from "
            "what it writes; get a whole checkpoint of a causal language model."
        )
    if max(ids) >= rows:
        raise UserError(
            f"The tokenizer of {model} gives token ids (such as {max(ids)}) that its model does not know "
            f"({rows} rows of embeddings); put the tokenizer that belongs to the model into its folder."
        )


def _device(device: str) -> str:
    import torch

    if device == "spread":
        return device
    if device == "auto":
        if torch.cuda.is_available():
            # Under `accelerate launch` every process has an accelerator of its own.
            return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if not device.strip():
        raise UserError("The device is an empty string; give one such as cpu or cuda:1, or auto.")
    try:
        # Some hold numbers and can't reckon (meta), and some names belong to modules that are not there.
        if (torch.ones(2, device=device) * 2).sum().item() != 4:
            raise RuntimeError("it reckons wrongly")
        index = torch.device(device).index
    except (RuntimeError, AssertionError, ImportError) as error:
        why = _first_line(error).split(". ")[0][:120]
        raise UserError(f"The device {device!r} can't be used here ({why}); try cpu.") from error
    if device.startswith("cpu") and index:
        raise UserError(f"The device {device!r} can't be used: there is one cpu for all cores; give cpu.")
    return "cpu" if device.startswith("cpu") else device


def _unreachable(model: str, error: Exception) -> str:
    first = _first_line(error)
    lower = str(error).lower()
    if "trust_remote_code" in lower:
        return (
            f"{model} needs Python code from its own repository to run; read that code, and if you trust it, "
            "ask for it with trust_remote_code=True."
        )
    if model in BUNDLED or given_path(model).is_dir():
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


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip()[:300] if lines else type(error).__name__
