"""One HTML file: its text escaped, its scripts and styles in it, and no leave to ask the network for anything.

A content security policy names the scripts by their digests, so that none which a title or a sweep might bring is run.
Imports Altair's bundle (by `charts`) and no other room.
"""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

_LICENCE = "/* Vega, Vega-Lite, Vega-Embed: BSD-3-Clause, (c) University of Washington Interactive Data Lab */\n"


def escaped(text: object) -> str:
    """Text as it stands in HTML, in attributes too."""
    return html.escape(str(text), quote=True)


def data_block(name: str, data: Any) -> str:
    """Data for `page.js`, as JSON that can hold no tag's end; numbers that are not finite as null."""
    text = json.dumps(_plain(data), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return f'<script type="application/json" id="{escaped(name)}">{text.replace("<", chr(92) + "u003c")}</script>'


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def table(rows: pd.DataFrame, caption: str, marks: Sequence[str] = (), kind: str = "") -> str:
    """A table in a box that scrolls; nothing where there are no rows. marks: columns of yes and no to be coloured."""
    if rows.empty:
        return ""
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in rows.columns)
    lines = []
    for row in rows.itertuples(index=False):
        cells = [_cell(value, name in marks) for name, value in zip(rows.columns, row, strict=True)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    label = escaped(caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table class="{kind}">'
        f"<caption>{label}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(value: Any, marked: bool) -> str:
    text = "" if value is None or value is pd.NA or value != value else value
    text = f"{text:.6g}" if isinstance(text, float) else text
    mark = f' class="{"holds" if value == "holds" else "fails"}"' if marked else ""
    return f"<td{mark}>{escaped(text)}</td>"


def details(summary: str, content: str) -> str:
    """What is shown when asked for; nothing where there is none."""
    return f"<details><summary>{escaped(summary)}</summary>{content}</details>" if content else ""


def document(title: str, contents: Sequence[tuple[str, str]], sections: Sequence[str], draws: bool) -> str:
    """The whole file. contents: (id, title) of each section. draws: whether any section has charts."""
    scripts = [_bundle(), _resource("page.js")] if draws else []
    digests = " ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'"
    policy = f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
    links = "".join(f'<li><a href="#{escaped(name)}">{escaped(text)}</a></li>' for name, text in contents)
    nav = f'<nav aria-label="Contents"><ul>{links}</ul></nav>' if len(contents) > 1 else ""
    body = "\n".join(sections)
    tail = "\n".join(f"<script>{script}</script>" for script in scripts)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{escaped(title)}</title>\n<style>\n{_resource('page.css')}</style>\n</head>\n<body>\n"
        f"<header><h1>{escaped(title)}</h1>{nav}</header>\n<main>\n{body}\n</main>\n{tail}\n</body>\n</html>\n"
    )


def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed, as the extra brings them."""
    import vl_convert

    bundle: Any = vl_convert.javascript_bundle  # its types say less than it takes
    return _LICENCE + str(bundle()).replace("</script", "<\\/script")


def _resource(name: str) -> str:
    return files("ghostsweep.reporting").joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
