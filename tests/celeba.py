"""Writes CelebA's text files in their published form."""

from pathlib import Path

from accord.config.data import CELEBA_ATTRIBUTES

Faces = dict[str, set[str]]
"""An image's name to the attributes it has."""


def listed(faces: Faces) -> str:
    """list_attr_celeba.txt of these faces."""
    lines = [
        f"{name} {' '.join(f'{1 if each in held else -1:2d}' for each in CELEBA_ATTRIBUTES)}"
        for name, held in faces.items()
    ]
    return "\n".join([str(len(faces)), " ".join(CELEBA_ATTRIBUTES) + " ", *lines, ""])


def write_faces(folder: Path, faces: Faces, parts: str) -> Path:
    """Both text files of these faces; `parts` has 0, 1 or 2 for each."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "list_attr_celeba.txt").write_text(listed(faces))
    lines = [f"{name} {part}\n" for name, part in zip(faces, parts, strict=True)]
    (folder / "list_eval_partition.txt").write_text("".join(lines))
    return folder
