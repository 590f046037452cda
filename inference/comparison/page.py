"""What a comparison found, as one HTML page that needs nothing else."""

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

from inference.comparison.tables import Column, Comparison, Table, Value

# The colours are those of the server's page; they meet WCAG AA on their backgrounds.
_STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --surface: #ffffff; --text: #1b1f24; --quiet: #57606a;
  --hair: #d8dee4; --best: #e3eefa;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171b; --surface: #1d2127; --text: #e8ebef; --quiet: #a3adb8;
    --hair: #333a43; --best: #1f3550;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem 1rem 3rem; max-width: 84rem;
  background: var(--ground); color: var(--text); font: 1rem/1.5 system-ui, sans-serif;
}
h1 { margin: 0; font-size: 1.375rem; line-height: 1.25; }
h2 { margin: 2rem 0 0.5rem; font-size: 1.125rem; }
p { margin: 0.25rem 0; overflow-wrap: anywhere; }
.hint, small, .unit { color: var(--quiet); font-size: 0.8125rem; font-weight: 400; }
.scroll {
  overflow-x: auto; border: 1px solid var(--hair); border-radius: 10px;
  background: var(--surface);
}
.scroll:focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }
table {
  width: 100%; border-collapse: collapse; font-size: 0.9375rem;
  font-variant-numeric: tabular-nums;
}
th, td {
  padding: 0.5rem; border-bottom: 1px solid var(--hair);
  text-align: right; vertical-align: top; white-space: nowrap;
}
tbody tr:last-child > * { border-bottom: 0; }
thead th { vertical-align: bottom; font-size: 0.875rem; line-height: 1.3; }
th:first-child {
  position: sticky; left: 0; max-width: min(16rem, 40vw); background: var(--surface);
  text-align: left; white-space: normal; overflow-wrap: break-word;
}
td.best { background: var(--best); font-weight: 700; }
small, .unit { display: block; }
figure { margin: 1rem 0; overflow-x: auto; border-radius: 10px; }
img {
  display: block; width: max(100%, 48rem); height: auto; padding: 0.5rem;
  border: 1px solid var(--hair); border-radius: 10px; background: #ffffff;
}
img.scatter { width: clamp(32rem, 100%, 48rem); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.125rem 1rem; margin: 0; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
"""


def page(found: Comparison, pictures: Mapping[str, bytes]) -> str:
    """The text of the page.

    Args:
        found: the comparison.
        pictures: PNG files by name; they become part of the page.
    """
    sections = []
    if found.front:
        told = f"<p>{escape(found.front_told)}</p>\n"
        sections.append(f"<h2>Accuracy against latency</h2>\n{told}{_figure(pictures, 'pareto')}")
    for name, table in found.tables.items():
        sections.append(f"<h2>{escape(table.title)}</h2>\n{_table(table)}{_figure(pictures, name)}")
    legend = "Bold: the best of its column. ↑ higher is better, ↓ lower is better."
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Comparison of models</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Comparison of models</h1>
<p class="hint">{legend} {escape(found.spread_told)}</p>
{"".join(sections)}<h2>Models</h2>
{_listed(found.models)}<h2>Machine and settings</h2>
{_listed({**found.machine, **found.settings})}</body>
</html>
"""


def _table(table: Table) -> str:
    columns = table.measured()
    best = {column.key: table.best(column) for column in columns}
    headings = "".join(_heading(column) for column in columns)
    rows = []
    for name, row in table.rows.items():
        cells = (_cell(c, row.get(c.key), name in best[c.key]) for c in columns)
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>\n')
    label = escape(table.title)
    # With a tabindex, the keyboard can scroll it, too.
    return f"""<div class="scroll" role="region" aria-label="{label}" tabindex="0">
<table>
<thead><tr><th scope="col">model</th>{headings}</tr></thead>
<tbody>
{"".join(rows)}</tbody>
</table>
</div>
"""


def _heading(column: Column) -> str:
    unit = escape(f"{column.unit} {column.arrow}".strip())
    return f'<th scope="col">{escape(column.heading)}<span class="unit">{unit}</span></th>'


def _cell(column: Column, value: Value, is_best: bool) -> str:
    ends = column.ends(value)
    more = f"<small>{escape(ends)}</small>" if ends else ""
    marked = ' class="best"' if is_best else ""
    return f"<td{marked}>{escape(column.shown(value))}{more}</td>"


def _figure(pictures: Mapping[str, bytes], name: str) -> str:
    """A picture inside the page; empty if there is none of that name."""
    content = pictures.get(f"{name}.png")
    if content is None:
        return ""
    data = base64.b64encode(content).decode()
    kind, alt = "bars", "Bar plots of the table"
    if name == "pareto":
        kind, alt = "scatter", "Scatter plot of top-1 accuracy against latency"
    source = f"data:image/png;base64,{data}"
    return f'<figure><img class="{kind}" src="{source}" alt="{alt}"></figure>\n'


def _listed(facts: Mapping[str, Any]) -> str:
    rows = (f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>\n" for k, v in facts.items())
    return f"<dl>\n{''.join(rows)}</dl>\n"
