"""Language models in GGUF files: what is refused before transformers reads one, and what is mended after.

transformers takes the weights out of their blocks as it loads them, so what is loaded is a model like any
other: nothing of it is quantised, and nothing that is saved says so.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipole.models.gguf_header import Header, Malformed, Stored, read_header
from dipole.types import UserError

if TYPE_CHECKING:
    import torch

_INSTEAD = "give the model as a folder in the Hugging Face format, or a hub id"
_AGAIN = "copy it again from where it came from"
_OTHER_THINGS = {
    "clip": "is a vision projector, the part of a model that reads pictures; give the file of the "
    "language model beside it",
    "mmproj": "is a projector, the part of a model that reads pictures or sounds; give the file of the "
    "language model beside it",
    "adapter": "is an adapter, not a whole model; give the model that it was made for",
    "controlvector": "is a control vector, not a model; `dipole import` makes an intervention of it",
}


def checked(path: Path, model: str) -> Header:
    """The header of a GGUF file that holds a whole language model of one part.

    Args:
        path: The file.
        model: How errors call it.

    Raises:
        UserError: It holds something else, is cut, or is of a type that can't be taken out of its blocks; or
            the package `gguf` is missing.
    """
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"{model} is a GGUF file, which needs the package gguf: pip install 'dipole[gguf]'.")
    try:
        header = read_header(path)
    except Malformed as error:
        raise UserError(f"{model} {error}.") from error
    except OSError as error:
        raise UserError(f"{model} can't be read ({error.strerror}); make it readable.") from error
    _refuse_other_things(header, model)
    _refuse_cut(header, model)
    return header


def stored_dtype(header: Header) -> torch.dtype:
    """The narrowest type of torch that its matrices fit into: what `auto` takes on an accelerator.

    Blocks are of 16 bits and fewer, with scales of 16 bits; bfloat16 has their range.
    """
    import gguf
    import torch

    kinds = {tensor.kind for tensor in header.tensors if len(tensor.shape) > 1}
    if gguf.GGMLQuantizationType.F32 in kinds:
        return torch.float32
    return torch.float16 if kinds == {gguf.GGMLQuantizationType.F16} else torch.bfloat16


def no_architecture(model: str, header: Header, why: str) -> str:
    """The sentence for a file whose config transformers can't make."""
    return (
        f"{model} is of the architecture {header.architecture!r}, which transformers can't make of a GGUF "
        f"file ({why}); {_INSTEAD}."
    )


def no_tokenizer(model: str, header: Header, why: str) -> str:
    """The sentence for a file whose tokenizer transformers can't make."""
    kind = header.facts.get("tokenizer.ggml.model")
    what = "holds no tokenizer" if kind is None else f"has a tokenizer of the kind {kind!r}"
    return f"{model} {what}, which can't be made again from the file ({why}); {_INSTEAD}."


def no_weights(model: str, header: Header, why: str) -> str:
    """The sentence for a file whose weights transformers can't read."""
    return (
        f"{model} ({header.architecture}) can't be read by transformers: {why.rstrip('.')}. The file is "
        f"broken, or of a form that is not known here; {_INSTEAD}."
    )


def loading(config: Any) -> dict[str, Any]:
    """What `from_pretrained` of a model is told, beside the name of the file."""
    import transformers

    # Newer versions keep the weights of some families in their blocks, where a kernel for them is installed.
    kind: Any = getattr(transformers, "GgufConfig", None)
    return (
        {"config": config}
        if kind is None
        else {"config": config, "quantization_config": kind(dequantize=True)}
    )


@contextmanager
def once_and_quietly() -> Iterator[None]:
    """Have transformers read the file once and without a bar, for the length of a `with` block.

    It would read all of the header for each of config, tokenizer and weights, and make the table of names for
    each module, which is most of the time that loading takes. The bar is none of its logging's, so nothing
    else turns it off.
    """
    import gguf
    from transformers import modeling_gguf_pytorch_utils

    with ExitStack() as undone:
        for holder, name, stand_in in (
            (modeling_gguf_pytorch_utils, "tqdm", lambda items, *_, **__: items),
            (gguf, "GGUFReader", functools.cache(gguf.GGUFReader)),
            (gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map)),
        ):
            undone.callback(setattr, holder, name, getattr(holder, name, None))
            setattr(holder, name, stand_in)
        yield


def unquantised(net: Any) -> None:
    """Let a model that was taken out of its blocks say so, in its config too."""
    net.hf_quantizer = None
    net.is_quantized = False
    for holder, name in ((net, "quantization_method"), (net.config, "quantization_config")):
        if name in vars(holder):
            delattr(holder, name)


def _refuse_other_things(header: Header, model: str) -> None:
    for key in ("general.type", "general.architecture"):
        if (said := _OTHER_THINGS.get(str(header.facts.get(key)))) is not None:
            raise UserError(f"{model} {said}.")
    if not header.architecture:
        raise UserError(f"{model} does not say of which architecture it is; {_INSTEAD}.")
    if "bert" in header.architecture or header.of_architecture("attention.causal") is False:
        raise UserError(
            f"{model} is an encoder ({header.architecture}), which is not a causal (left-to-right) language "
            "model; give one that writes, such as smollm2."
        )
    parts = header.facts.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise UserError(
            f"{model} is one of {parts} parts of a model; put them together with llama.cpp's "
            "`llama-gguf-split --merge`, and give the whole."
        )


def _refuse_cut(header: Header, model: str) -> None:
    for tensor in header.tensors:
        if tensor.start + _bytes(tensor, model) > header.size:
            raise UserError(f"{model} ends within its tensor {tensor.name!r}; {_AGAIN}.")
    if not header.tensors:
        raise UserError(f"{model} holds no tensors; give a file that holds a whole model.")


def _bytes(tensor: Stored, model: str) -> int:
    """Bytes that it takes in the file.

    Raises:
        UserError: Its type is not known here, or nothing can take it out of its blocks.
    """
    import gguf

    try:
        kind = gguf.GGMLQuantizationType(tensor.kind)
    except ValueError:
        raise UserError(
            f"{model} holds a tensor of the type {tensor.kind}, which the installed package gguf does not "
            "know; pip install --upgrade gguf, or give the model in another quantisation, such as Q8_0."
        ) from None
    per_block, size = gguf.GGML_QUANT_SIZES[kind]
    if not _dequantisable(kind):
        raise UserError(
            f"{model} is quantised as {kind.name}, which can't be taken out of its blocks here; give it in "
            "another quantisation, such as Q8_0 or Q4_K_M."
        )
    if tensor.values % per_block:
        raise UserError(f"{model} has a tensor {tensor.name!r} that does not fill its blocks; {_AGAIN}.")
    return tensor.values // per_block * size


@functools.cache
def _dequantisable(kind: Any) -> bool:
    import gguf
    import numpy as np

    block = np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    try:
        gguf.dequantize(block, kind)
    except NotImplementedError:
        return False
    return True
