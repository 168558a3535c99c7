"""What a verb gives, kept in a folder: its files, its page, its card and the manifest that makes it again."""

from dipole.runs.inoculating import inoculate_in
from dipole.runs.keeping import keeping, save
from dipole.runs.manifest import manifest

__all__ = ["inoculate_in", "keeping", "manifest", "save"]
