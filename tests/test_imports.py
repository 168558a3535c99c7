import subprocess
import sys

import pytest

import dipole


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["dipole", "dipole.types", "dipole.registry", "dipole.concepts"])
def test_plain_data_does_not_import_torch(module):
    """`dipole --help` and a wrong dipole file must answer at once."""
    code = f"import sys, {module}; sys.exit(','.join({{'torch', 'transformers'}} & set(sys.modules)) or 0)"
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_every_public_name_has_a_home():
    for name in dipole.__all__:
        assert getattr(dipole, name) is not None


def test_unknown_public_name():
    with pytest.raises(AttributeError, match="no attribute 'Dipol'"):
        dipole.Dipol  # noqa: B018  the access is the test
