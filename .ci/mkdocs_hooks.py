"""What `make docs` does beside MkDocs: links that leave docs/ lead to the repository, and pictures come along.

On a code host the pages link to files beside docs/, such as `../../policies/example.toml`; a site has no such files.
"""

import os.path
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PICTURES = "deploy/screenshots"
LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pictures to the site, in a folder of their own."""
    from mkdocs.structure.files import File

    for picture in sorted((ROOT / PICTURES).glob("*.png")):
        files.append(File.generated(config, f"pictures/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Return the page with each link that leaves docs/ led to where the file is."""
    folder = Path("docs", page.file.src_uri).parent

    def lead(found: "re.Match[str]") -> str:
        path = Path(os.path.normpath(folder / found[1]))
        if path.is_relative_to("docs"):
            return found[0]
        if path.parent.as_posix() == PICTURES and path.suffix:
            return f"]({os.path.relpath(f'docs/pictures/{path.name}', folder)})"
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"]({config.repo_url}/{kind}/main/{path.as_posix()}{found[2] or ''})"

    return LINK.sub(lead, markdown)
