"""GGUF control vectors: what llama.cpp reads, and back again bit for bit."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from architectures import tiny_model
from contracts.recipes import random_vector
from dipole.interventions import gguf as ours
from dipole.interventions.activations import SteeringVector
from dipole.interventions.gguf import export_gguf, import_gguf
from dipole.types import UserError

gguf = pytest.importorskip("gguf")


def fitted() -> SteeringVector:
    return SteeringVector(
        (1, 2),
        torch.randn(2, 32, generator=torch.Generator().manual_seed(0)),
        signs=(1, -1),
        activation_norms=(3.5, 1 / 3),
        mean_norms=(3.25, math.nan),
        read_token="last",
        template_hash="0123456789abcdef",
        base_fingerprint=tiny_model("llama").resident.fingerprint,
        base_name="llama",
        model_type="llama",
        facts={"method": "pca", "selection": {"chosen": 3}},
    )


def write(path: Path, architecture: str = "controlvector", **tensors: Any) -> Path:
    """A file as another program writes it."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_string("controlvector.model_hint", "mistral")
    writer.add_uint32("controlvector.layer_count", len(tensors))
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_vector_comes_back_bit_for_bit(tmp_path: Path) -> None:
    made = fitted()
    export_gguf(made, tmp_path / "v.gguf")
    again = import_gguf(tmp_path / "v.gguf")
    assert torch.equal(again.vectors, made.vectors)
    for field in dataclasses.fields(SteeringVector):
        if field.name != "vectors":
            assert repr(getattr(again, field.name)) == repr(getattr(made, field.name)), field.name
    export_gguf(again, tmp_path / "w.gguf")
    assert (tmp_path / "w.gguf").read_bytes() == (tmp_path / "v.gguf").read_bytes()
    lm = tiny_model("llama")
    for strength in (1.0, -0.3):
        a, b = (v.apply(lm, strength).response_logits(["The cats"], [[5, 6]])[0] for v in (made, again))
        assert torch.equal(a, b)


def test_the_file_is_what_llama_cpp_asks_for(tmp_path: Path) -> None:
    """Its loader wants `direction.N`, N from 1, of one dimension and F32; N is the block counted from 0."""
    made = fitted()
    export_gguf(made, tmp_path / "v.gguf")
    reader = gguf.GGUFReader(str(tmp_path / "v.gguf"))
    assert reader.fields["general.architecture"].contents() == "controlvector"
    assert reader.fields["controlvector.model_hint"].contents() == "llama"
    assert reader.fields["controlvector.layer_count"].contents() == 2
    assert [(t.name, t.tensor_type.name, t.data.shape) for t in reader.tensors] == [
        ("direction.1", "F32", (32,)),
        ("direction.2", "F32", (32,)),
    ]
    assert np.array_equal(reader.tensors[0].data, made.vectors[0].numpy())


def test_a_vector_of_another_program_is_read(tmp_path: Path) -> None:
    rows = {f"direction.{n}": np.full(32, float(n), dtype=np.float32) for n in (2, 10)}
    rows["direction.1"] = np.zeros(32, dtype=np.float32)
    found = import_gguf(write(tmp_path / "v.gguf", **rows))
    assert found.layers == (2, 10)
    assert found.vectors[:, 0].tolist() == [2.0, 10.0]
    assert (found.base_name, found.model_type, found.base_fingerprint) == ("mistral", "mistral", None)
    found.save(tmp_path / "folder")
    assert math.isnan(SteeringVector.load(tmp_path / "folder").relative[0])


def test_what_the_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    lm = tiny_model("llama")
    with pytest.raises(UserError, match="layer 0"):
        export_gguf(random_vector(lm), tmp_path / "v.gguf")
    with pytest.raises(UserError, match="ablate"):
        export_gguf(random_vector(lm, "ablate"), tmp_path / "v.gguf")
    with pytest.raises(UserError, match="keeps norms"):
        export_gguf(dataclasses.replace(fitted(), keep_norm=True), tmp_path / "v.gguf")
    assert not list(tmp_path.iterdir())


def row(width: int = 4, dtype: Any = np.float32) -> Any:
    return np.ones(width, dtype=dtype)


@pytest.mark.parametrize(
    ("architecture", "tensors", "match"),
    [
        ("llama", {"direction.1": row()}, "control vector"),
        ("controlvector", {"direction.0": row()}, "direction.0"),
        ("controlvector", {"direction.x": row()}, "direction.x"),
        ("controlvector", {"weight": row()}, "weight"),
        ("controlvector", {"direction.1": row(), "direction.2": row(5)}, "different widths"),
        ("controlvector", {"direction.1": row(dtype=np.float16)}, "F16"),
        ("controlvector", {"direction.1": np.ones((2, 4), dtype=np.float32)}, "2 dimensions"),
        ("controlvector", {"direction.1": row() * 0}, "only zeros"),
        ("controlvector", {}, "no directions"),
    ],
)
def test_a_file_that_is_no_control_vector_is_refused(
    tmp_path: Path, architecture: str, tensors: dict[str, Any], match: str
) -> None:
    with pytest.raises(UserError, match=match):
        import_gguf(write(tmp_path / "v.gguf", architecture, **tensors))


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        import_gguf(tmp_path / "absent.gguf")
    export_gguf(fitted(), tmp_path / "v.gguf")
    whole = (tmp_path / "v.gguf").read_bytes()
    for broken in (
        b"",
        b"GGUF",
        whole[:100],
        whole[:-64],
        b"PK" + whole,
        whole[:300] + b"\xff" * 50 + whole[350:],
    ):
        (tmp_path / "v.gguf").write_bytes(broken)
        with pytest.raises(UserError, match=r"v\.gguf"):
            import_gguf(tmp_path / "v.gguf")


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"dipole\[gguf\]"):
        import_gguf(tmp_path / "v.gguf")
