"""Load a causal language model: a bundled LM, a folder, a GGUF file, or an id on the Hugging Face hub."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dipole.files import settled
from dipole.files.paths import given_path
from dipole.files.reader import COPY_AGAIN
from dipole.models import gguf
from dipole.models.fitting import bytes_as_8_bits, bytes_in, refuse_too_large
from dipole.models.gguf_header import Header
from dipole.models.gguf_positions import stretch, tell_unread
from dipole.models.resident import TransformersResident
from dipole.models.sources import Source, folder_of, is_name, source
from dipole.models.turns import process_lock
from dipole.models.unreadable import first_line, unreachable
from dipole.tensors import align_parameters
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

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
            Hugging Face format; a GGUF file, taken out of its blocks, or a folder that holds one; `smollm2`,
            the GGUF file that an installed package brings; an id on the hub, downloaded by the ordinary
            `from_pretrained`; or a folder that `dipole.save` wrote, whose interventions are then applied.
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
    folder = folder_of(model)
    if folder is not None:
        settled(folder)
        if (folder / LM_FILE).is_file():
            return _load_saved(folder, dtype, device, trust_remote_code, special_tokens_in_text, plain)
    lies = source(model)
    header = None if lies.gguf is None else gguf.checked(lies.gguf, model)
    asked = _Asked(model, lies, header, revision, trust_remote_code)
    if header is not None:
        tell_unread(header, model)
    target = _device(device)
    with _LOADING, _quiet(), nullcontext() if header is None else gguf.once_and_quietly():
        config = _config(asked)
        _refuse_other_heads(asked, config)
        wanted = _number_type(asked, dtype, target)
        refuse_too_large(model, config, wanted, target, asked.stored)
        net, tokenizer, facts = _load_parts(asked, config, wanted, target)
        commit = getattr(net.config, "_commit_hash", None)
        resident = TransformersResident(net, tokenizer, model, commit, special_tokens_in_text, plain)
        resident.probe.require()
        _refuse_unfilled(model, facts)
        return lm.LM(resident)


class _Asked(NamedTuple):
    """What is loaded, and how it was asked for."""

    model: str
    source: Source
    header: Header | None
    revision: str | None
    trust_remote_code: bool

    @property
    def common(self) -> dict[str, Any]:
        """What each of transformers' `from_pretrained` is given."""
        file = {"gguf_file": self.source.file} if self.source.file else {}
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code, **file}

    @property
    def stored(self) -> int | None:
        """Bytes of the weights on disk, as `refuse_too_large` takes them."""
        return bytes_in(Path(self.source.place)) if self.header is None else bytes_as_8_bits(self.header)


def _load_saved(
    folder: Path, dtype: str, device: str, trust_remote_code: bool, special_tokens_in_text: bool, plain: bool
) -> LM:
    """The LM that `dipole.save` wrote: its model, and its interventions in their order."""
    from dipole.interventions.saved import LM_FILE, read_saved

    saved = read_saved(folder)
    if not is_name(saved.model) and (given_path(saved.model) / LM_FILE).is_file():  # perhaps itself
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


def _config(asked: _Asked) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(asked.source.place, **asked.common)
    except (
        *_BROKEN,
        AttributeError,
        LookupError,
    ) as error:  # a config.json may hold something else than an object
        if asked.header is not None:
            raise UserError(gguf.no_architecture(asked.model, asked.header, first_line(error))) from error
        raise UserError(unreachable(asked.model, error)) from error


def _refuse_other_heads(asked: _Asked, config: Any) -> None:
    remote = asked.trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if not remote and not has_language_head(config):
        architectures = getattr(config, "architectures", None) or [config.model_type or "of an unknown kind"]
        raise UserError(
            f"{asked.model} is {architectures[0]}, which is not a causal (left-to-right) language model; "
            "dipole needs one that AutoModelForCausalLM loads, such as gpt2, meta-llama/Llama-3.2-1B or the "
            "bundled tiny."
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


def _number_type(asked: _Asked, dtype: str, target: str) -> Any:
    import torch

    if dtype != "auto":
        return dtype
    if target == "cpu":
        return torch.float32
    return dtype if asked.header is None else gguf.stored_dtype(asked.header)


def _load_parts(asked: _Asked, config: Any, dtype: Any, target: str) -> tuple[Any, Any, dict[str, Any]]:
    """Model, tokenizer, and what the loading of the weights found."""
    tokenizer = _tokenizer(asked)
    net, facts = _weights(asked, config, dtype, target)
    _refuse_no_tokenizer(asked.model, tokenizer, net)
    if target != "spread":
        net = net.to(target)
    align_parameters(net)
    net.eval()
    net.requires_grad_(False)
    return net, tokenizer, facts


def _tokenizer(asked: _Asked) -> Any:
    from transformers import AutoTokenizer

    with _explained(asked, gguf.no_tokenizer):
        return AutoTokenizer.from_pretrained(asked.source.place, **asked.common)


def _weights(asked: _Asked, config: Any, dtype: Any, target: str) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoModelForCausalLM

    placement: dict[str, Any] = {"device_map": "auto"} if target == "spread" else {}
    kinds: dict[str, Any] = {"use_safetensors": True} if asked.header is None else gguf.loading(config)
    with _explained(asked, gguf.no_weights):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            asked.source.place, dtype=dtype, output_loading_info=True, **kinds, **placement, **asked.common
        )
    net, facts = loaded
    if asked.header is not None and asked.source.gguf is not None:
        gguf.unquantised(net)
        stretch(net, asked.header, asked.source.gguf)
    return net, facts


@contextmanager
def _explained(asked: _Asked, of_gguf: Callable[[str, Header, str], str]) -> Iterator[None]:
    """What the libraries raise on a broken model, as a `UserError`."""
    broken = _BROKEN if asked.header is None else (*_BROKEN, AttributeError, LookupError)
    try:
        yield
    except broken as error:
        raise UserError(_said(asked, of_gguf, error)) from error
    except Exception as error:
        # safetensors and tokenizers raise bare Exceptions from Rust on a truncated or corrupt file.
        if type(error) is not Exception and type(error).__module__.split(".")[0] not in {
            "safetensors",
            "tokenizers",
        }:
            raise
        raise UserError(_said(asked, of_gguf, error)) from error


def _said(asked: _Asked, of_gguf: Callable[[str, Header, str], str], error: Exception) -> str:
    if asked.header is None:
        return unreachable(asked.model, error)
    return of_gguf(asked.model, asked.header, first_line(error))


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
        why = first_line(error).split(". ")[0][:120]
        raise UserError(f"The device {device!r} can't be used here ({why}); try cpu.") from error
    if device.startswith("cpu") and index:
        raise UserError(f"The device {device!r} can't be used: there is one cpu for all cores; give cpu.")
    return "cpu" if device.startswith("cpu") else device
