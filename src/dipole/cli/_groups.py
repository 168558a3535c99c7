"""Groups of flags that several commands have, and what each group means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dipole.cli._console import emit, emit_json, tell
from dipole.cli._flags import Texts
from dipole.cli._noise import hide_progress_bars
from dipole.cli._progress import progress
from dipole.files import check_output
from dipole.files.paths import given_path, same_place
from dipole.progress import Progress
from dipole.shown.terminal import one_line
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM


@dataclass(frozen=True, kw_only=True)
class _Model:
    """Which model, and where it lies.

    Attributes:
        model: A hub id, a folder, a .gguf file, smollm2, or a bundled LM: tiny (the default), mini.
        revision: Branch, tag or commit of the model on the hub.
        dtype: auto, float32, bfloat16 or float16; auto is float32 on a CPU. [default: auto]
        device: auto, cpu, cuda:1, …, or spread over all that there are. [default: auto]
    """

    model: str | None = None
    revision: str | None = None
    dtype: str | None = None
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Source(_Model):
    """Which model is loaded, and how.

    Attributes:
        trust_remote_code: Run Python code that comes with the model.
        special_tokens: Read special tokens that texts spell (</s>) as such, not as text.
        plain: Take prompts as text to continue, also where the model has a chat template.
    """

    trust_remote_code: bool = False
    special_tokens: bool | None = None
    plain: bool | None = None

    @property
    def given(self) -> bool:
        """Whether any of the flags is there."""
        return any(astuple(self))

    def name(self, other: str | None = None) -> str:
        """Name of the model; the other, or tiny, where the flags have none."""
        return next(name for name in (self.model, other, "tiny") if name is not None)

    def load(self, other: str | None = None, plain: bool = False) -> LM:
        """The model of that name.

        Args:
            other: Its name, where the flags have none.
            plain: Whether prompts are text to continue, where the flags do not say.
        """
        from dipole.models import load

        hide_progress_bars()
        return load(
            self.name(other),
            "auto" if self.dtype is None else self.dtype,
            "auto" if self.device is None else self.device,
            self.revision,
            trust_remote_code=self.trust_remote_code,
            special_tokens_in_text=bool(self.special_tokens),
            plain=plain if self.plain is None else self.plain,
        )


@dataclass(frozen=True, kw_only=True)
class EngagedSource(Source):
    """Which model interventions are engaged on.

    Attributes:
        model: A hub id, folder or .gguf file, smollm2, tiny. [default: what it was made for, or tiny]
    """

    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Judge(_Model):
    """Which model judges.

    Attributes:
        judge: A model that scores in place of the one that is trained.
    """

    judge: str | None = None


@dataclass(frozen=True, kw_only=True)
class JudgedSource(Source, _Judge):
    """Which model is trained, and which one judges it."""


@dataclass(frozen=True, kw_only=True)
class Poles:
    """A statement and its opposite.

    Attributes:
        dipole: A dipole file (TOML; FILE:NAME of several), or a ready one by name; see `dipole dipoles`.
        claim: The statement that is wanted.
        against: Its opposite.
    """

    dipole: str | None = None
    claim: str | None = None
    against: str | None = None

    @property
    def given(self) -> bool:
        """Whether any of the flags is there."""
        return any(value is not None for value in (self.dipole, self.claim, self.against))

    @property
    def wordings(self) -> tuple[Sequence[str], Sequence[str]]:
        """Prompts to fit on, and those to measure on alone."""
        return (), ()


@dataclass(frozen=True, kw_only=True)
class Wanted(Poles):
    """A dipole with its wordings.

    Attributes:
        prompt: To fit on. May be repeated.
        held_out: A wording to measure on alone. May be repeated.
    """

    prompt: Texts = None
    held_out: Texts = None

    @property
    def wordings(self) -> tuple[Sequence[str], Sequence[str]]:
        """Prompts to fit on, and those to measure on alone."""
        return self.prompt or (), self.held_out or ()


@dataclass(frozen=True, kw_only=True)
class Output:
    """What becomes of the results.

    Attributes:
        overwrite: Replace what dipole made in the folder.
        json: Print JSON, one object a line.
        quiet: No progress on standard error.
    """

    overwrite: bool = False
    json: bool = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q")] = False

    def folder(self, out: str, reads: Sequence[str] = ()) -> Path:
        """The folder of that name, as `output_folder` has it."""
        return output_folder(out, self.overwrite, reads=reads)

    def show(self, found: object, *records: Any) -> None:
        """Print the records, or what was found as it shows itself."""
        if self.json:
            for record in records:
                emit_json(record)
        else:
            emit(str(found))

    def say(self, text: str) -> None:
        """Print what is neither a result nor a warning."""
        if not self.quiet:
            tell(one_line(f"dipole: {text}"))

    def warn(self, notes: Iterable[str], kind: str = "note") -> None:
        """Print what a reader must see first, whether or not it is quiet."""
        for note in notes:
            tell(f"dipole: {kind}: {note}")

    @contextmanager
    def working(self, folder: Path | None) -> Iterator[tuple[Progress, Callable[[Any], object]]]:
        """For a `with` block: what shows progress, and what keeps a result in the folder, if there is one."""
        from dipole.runs import keeping

        kept = nullcontext(lambda _: None) if folder is None else keeping(folder, self.overwrite)
        with progress(self.quiet) as show, kept as keep:
            yield show, keep


def output_folder(
    out: str, overwrite: bool = False, resume: bool | None = None, reads: Sequence[str] = ()
) -> Path:
    """The output folder; what would be refused later is refused before a model is loaded.

    Args:
        out: As it was given.
        overwrite: Whether what dipole made there may be replaced.
        resume: Whether the run there is continued; None where there is no such thing.
        reads: Folders that the command reads; it must not replace them.
    """
    if not out.strip():
        raise UserError("The output folder is an empty string; give one such as --out runs/clips.")
    folder = given_path(out, "The output folder")
    for read in reads:
        if same_place(read, folder):
            raise UserError(f"--out is {out}, which this command reads; choose another folder with --out.")
    check_output(folder, overwrite, resume)
    return folder
