"""Under which licence a log may be used, as far as its own files tell."""

import re
from pathlib import Path
from typing import Any

_NAMES = ("LICENSE", "LICENCE", "COPYING")
_SPDX = {name.lower(): name for name in ("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "Unlicense")}
_TEXTS = (
    (r"apache license\s+version 2\.0", "Apache-2.0"),
    (r"attribution-noncommercial-sharealike 4\.0", "CC-BY-NC-SA-4.0"),
    (r"attribution-noncommercial-noderivatives 4\.0", "CC-BY-NC-ND-4.0"),
    (r"attribution-noncommercial 4\.0", "CC-BY-NC-4.0"),
    (r"attribution-sharealike 4\.0", "CC-BY-SA-4.0"),
    (r"attribution-noderivatives 4\.0", "CC-BY-ND-4.0"),
    (r"attribution 4\.0|cc[ -]by[ -]4\.0", "CC-BY-4.0"),
    (r"cc0 1\.0", "CC0-1.0"),
    (r"gnu affero general public license\s+version 3", "AGPL-3.0"),
    (r"gnu lesser general public license\s+version 3", "LGPL-3.0"),
    (r"gnu general public license\s+version 3", "GPL-3.0"),
    (r"gnu general public license\s+version 2", "GPL-2.0"),
    (r"redistribution and use in source and binary forms(?s:.*)neither the name", "BSD-3-Clause"),
    (r"redistribution and use in source and binary forms", "BSD-2-Clause"),
    (r"permission is hereby granted, free of charge", "MIT"),
)
_READ_BYTES = 64_000


def find_licence(root: Path, metadata: dict[str, Any]) -> str | None:
    """SPDX name from the metadata, the README's front matter or a licence file, in this order; None where nothing tells.

    An identifier that is not known is given as it is written.
    """
    stated = metadata.get("license") or metadata.get("licence")
    if isinstance(stated, str) and stated.strip():
        return _spdx(stated)
    front_matter = re.match(r"---\s*\n(.*?)\n---", _text(root / "README.md"), re.DOTALL)
    named = front_matter and re.search(r"^licen[sc]e:\s*(\S.*)$", front_matter.group(1), re.MULTILINE)
    if named:
        return _spdx(named.group(1).strip("\"' "))
    for name in _NAMES:
        for suffix in ("", ".txt", ".md"):
            text = _text(root / f"{name}{suffix}").lower()
            for pattern, spdx in _TEXTS:
                if re.search(pattern, text):
                    return spdx
    return None


def _spdx(stated: str) -> str:
    plain = stated.strip()
    if plain.lower() in _SPDX:
        return _SPDX[plain.lower()]
    return plain.upper() if plain.lower().startswith("cc-") else plain


def _text(path: Path) -> str:
    """The beginning of a text file that lies in the log itself; empty where there is none."""
    if not path.is_file() or path.is_symlink():
        return ""
    with open(path, "rb") as stream:
        return stream.read(_READ_BYTES).decode("utf-8", errors="replace")
