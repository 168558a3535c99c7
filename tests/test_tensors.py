"""Tensors from safetensors files: what is refused, and that the bits of a sum do not depend on the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import dipole.tensors
from architectures import tiny_model
from contracts.recipes import INTERVENTIONS
from dipole.interventions import load_intervention
from dipole.interventions.logits import Boost, made_for
from dipole.interventions.tokens import Document, Pool, Quotes
from dipole.lm import LM
from dipole.recognizers.notion import NotionScore
from dipole.tensors import ALIGNMENT, Wanted, align_parameters, aligned, read_stored, read_tensors
from dipole.types import UserError
from misaligned import misaligned

KINDS = sorted(INTERVENTIONS)


def _tensors(thing: object) -> list[Tensor]:
    """Every tensor in the fields of a value, however deep."""
    if isinstance(thing, Tensor):
        return [thing]
    if isinstance(thing, dict):
        return [t for item in thing.values() for t in _tensors(item)]
    if hasattr(thing, "__dataclass_fields__") and not isinstance(thing, LM):
        return [t for name in thing.__dataclass_fields__ for t in _tensors(getattr(thing, name))]
    return []


def _placed(tensor: Tensor) -> bool:
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor.data_ptr() % ALIGNMENT == 0 and tensor.is_contiguous() and whole


@pytest.mark.parametrize("spaces", range(0, 64, 8))
def test_wherever_the_header_ends_tensors_are_aligned_and_owned(tmp_path: Path, spaces: int) -> None:
    file = tmp_path / "x.safetensors"
    made = {"a": torch.randn(7, 33), "b": torch.randn(5, dtype=torch.float64), "n": torch.arange(9)}
    save_file(made, file, {"pad": " " * spaces})
    with safe_open(str(file), "pt") as raw:
        places = {name: raw.get_tensor(name).data_ptr() % ALIGNMENT for name in made}
    assert any(places.values())  # in the mapped file they are not where torch puts its own
    found = read_tensors(file, {}, "do", others=Wanted("any"))
    for name, tensor in made.items():
        assert torch.equal(found[name], tensor)
        assert _placed(found[name])
    before = {name: tensor.clone() for name, tensor in found.items()}
    with file.open("r+b") as stream:  # the file changes in place: what was read does not
        stream.seek(-64, 2)
        stream.write(b"\xff" * 64)
    assert all(torch.equal(found[name], before[name]) for name in found)


@pytest.mark.parametrize("kind", KINDS)
def test_every_intervention_has_aligned_tensors_loaded_or_not(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = INTERVENTIONS[kind]("gpt2")
    made.save(tmp_path)
    plain = dipole.tensors._raw
    monkeypatch.setattr(dipole.tensors, "_raw", lambda file, name: misaligned(plain(file, name)))
    loaded = load_intervention(tmp_path)
    before, after = _tensors(made), _tensors(loaded)
    assert len(before) == len(after)
    assert all(map(_placed, after))
    if kind != "adapter":  # whose tensors are copied into place when it is engaged
        assert all(map(_placed, before))


def test_a_notion_scores_the_same_bits_after_it_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.randn(32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = NotionScore(tiny_model("gpt2"), 1, misaligned(weight), -0.25)
    made.save(tmp_path)
    plain = dipole.tensors._raw
    monkeypatch.setattr(dipole.tensors, "_raw", lambda file, name: misaligned(plain(file, name)))
    loaded = NotionScore.load(tmp_path, None, lambda _name: made.judge)
    texts = ["Paper clips are the best.", "The cats like the dogs."]
    assert _placed(loaded.weight)
    assert _placed(made.weight)
    assert made.score(texts) == loaded.score(texts)


def test_quotes_are_owned(tmp_path: Path) -> None:
    Pool(Quotes((Document.of("a", "one two three four"),))).save(tmp_path)
    assert load_intervention(tmp_path) == Pool(Quotes((Document.of("a", "one two three four"),)))


def test_aligned_copies_only_what_lies_elsewhere() -> None:
    whole = torch.randn(4, 16)
    assert aligned(whole).data_ptr() == whole.data_ptr()
    for odd in (misaligned(whole), whole.T, whole[1:], whole[0]):
        assert _placed(aligned(odd))
        assert torch.equal(aligned(odd), odd)


def test_a_model_is_aligned_in_place_and_stays_tied() -> None:
    model = nn.Sequential(nn.Embedding(8, 6), nn.Linear(6, 8, bias=False), nn.LayerNorm(6))
    model[1].weight = model[0].weight
    with torch.no_grad():
        model[0].weight.data = misaligned(model[0].weight)
        model[2].bias.data = misaligned(model[2].bias)
    parameters = list(model.parameters())
    values = [p.clone() for p in parameters]
    align_parameters(model)
    assert model[1].weight is model[0].weight
    assert [id(p) for p in model.parameters()] == [id(p) for p in parameters]
    assert all(_placed(p) and torch.equal(p, v) for p, v in zip(parameters, values, strict=True))


def test_the_bundled_lm_is_aligned(tiny: LM) -> None:
    assert all(map(_placed, tiny.resident.model.parameters()))


FLOATS = Wanted("float", ("rows", "width"))


@pytest.mark.parametrize(
    ("content", "wanted", "said"),
    [
        ({"w": torch.zeros(2, 3, dtype=torch.int8)}, {"w": FLOATS}, "w is of type I8"),
        ({"w": torch.zeros(2, 3, dtype=torch.int64)}, {"w": FLOATS}, "w is of type I64"),
        ({"w": torch.zeros(2, 3, dtype=torch.bool)}, {"w": FLOATS}, "w is of type BOOL"),
        ({"w": torch.zeros(2, 3).to(torch.float8_e4m3fn)}, {"w": FLOATS}, "w is of type F8"),
        ({"w": torch.zeros(2, 3, dtype=torch.complex64)}, {"w": FLOATS}, "w is of type C64"),
        ({"w": torch.zeros(2, 3)}, {"w": Wanted("float64")}, "F64 is wanted"),
        ({"w": torch.full((2, 3), torch.nan)}, {"w": FLOATS}, "not finite"),
        ({"w": torch.full((2, 3), torch.inf).half()}, {"w": FLOATS}, "not finite"),
        ({"w": torch.zeros(6)}, {"w": FLOATS}, "shape"),
        ({"w": torch.zeros(2, 3)}, {"w": Wanted("float", (2, 4))}, r"shape \(2, 3\), and \(2, 4\)"),
        (
            {"a": torch.zeros(2, 3), "b": torch.zeros(4)},
            {"a": FLOATS, "b": Wanted("float", ("width",))},
            r"b has shape \(4,\), and \(3,\)",
        ),
        ({"w": torch.zeros(2, 3)}, {"w": FLOATS, "v": FLOATS}, "no tensor 'v'"),
        ({"w": torch.zeros(2, 3), "v": torch.zeros(2, 3)}, {"w": FLOATS}, "'v' that is not known"),
        ({"w": -torch.ones(3, dtype=torch.int64)}, {"w": Wanted("whole", ("k",))}, "below 0"),
    ],
)
def test_what_is_not_wanted_is_refused(
    tmp_path: Path, content: dict[str, Tensor], wanted: dict[str, Wanted], said: str
) -> None:
    file = tmp_path / "x.safetensors"
    save_file(content, file)
    with pytest.raises(UserError, match=f"{said}.*; fit it again") as caught:
        read_stored(file, wanted, "fit it again")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file({"w": torch.zeros(2, 3)}, file)
    whole = file.read_bytes()
    header = b'{"w":{"dtype":"F32","shape":[%d,4],"data_offsets":[0,%d]}}'
    for content in (
        b"",
        whole[:5],
        whole[:-1],
        whole + b"x",
        b"\xff" * 8 + whole[8:],
        (60).to_bytes(8, "little") + b"[" * 60,
        *(len(h).to_bytes(8, "little") + h for h in (header % (2**62, 2**64 - 1), header % (2**31, 2**35))),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match="can't be read"):
            read_tensors(file, {"w": FLOATS}, "fit it again")
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="can't be read"):
            read_tensors(path, {"w": FLOATS}, "fit it again")


def test_another_model_than_the_tensors_are_for_is_refused() -> None:
    lm = tiny_model("gpt2")
    far = Boost(torch.tensor([10**6]), torch.ones(1), **made_for(lm))
    with pytest.raises(UserError, match="token 1000000, and gpt2 has tokens 0 to"):
        far.apply(lm)
