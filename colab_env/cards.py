"""Cards: what a notebook cell shows of a result, as HTML that reads well in light and dark, and without its styles too.

A page that does not trust a notebook takes the styles away: what is left is a list with marks, names and times. Everything
here is escaped, because names, paths and messages come from files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

# Colours that have enough contrast on white and on black, and otherwise the page's own: an output of JupyterLab, Colab or VS
# Code inherits them, whatever the system prefers.
_STYLE = """<style>
.cenv{font:13px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;max-width:62em;margin:2px 0;padding:8px 12px;
border:1px solid rgba(127,127,127,.35);border-radius:8px;
color:var(--jp-content-font-color1,var(--colab-primary-text-color,var(--vscode-editor-foreground,inherit)))}
.cenv p{margin:2px 0}.cenv code,.cenv .cenv-v{overflow-wrap:anywhere}
.cenv code{font:12px/1.5 ui-monospace,Menlo,Consolas,monospace;background:none;color:inherit;padding:0}
.cenv .cenv-h{font-weight:600;font-size:14px;margin-bottom:4px}.cenv .cenv-h small{font-weight:400;font-size:12px}
.cenv small,.cenv .cenv-d{opacity:.72}.cenv .cenv-ok{color:#2c974b}.cenv .cenv-no{color:#e5534b}
.cenv .cenv-r{display:grid;grid-template-columns:1.4em minmax(6em,9em) 1fr auto;gap:0 8px;padding:2px 0;
border-top:1px solid rgba(127,127,127,.15);cursor:default}
.cenv .cenv-r.cenv-w{grid-template-columns:1.4em 1fr auto}
.cenv summary.cenv-r{cursor:pointer;list-style:none}.cenv summary::-webkit-details-marker{display:none}
.cenv summary .cenv-n::after{content:" \\25B8";opacity:.5}.cenv details[open]>summary .cenv-n::after{content:" \\25BE"}
.cenv .cenv-t{opacity:.72;font-variant-numeric:tabular-nums;white-space:nowrap}
.cenv .cenv-m{margin:0 0 4px calc(1.4em + 8px);font-size:12px}
.cenv .cenv-b{display:inline-block;width:100%;max-width:22em;height:6px;border-radius:3px;background:rgba(127,127,127,.22);
vertical-align:middle}.cenv .cenv-b i{display:block;height:6px;border-radius:3px;background:#3d8bd4}
.cenv table{border-collapse:collapse;font-size:12px;margin:6px 0}.cenv td,.cenv th{text-align:left;padding:1px 12px 1px 0;
background:none;color:inherit;border:0}.cenv .cenv-s{max-height:24em;overflow:auto}
</style>"""
_PAGE_STYLE = """<style>
:root{color-scheme:light dark}body{margin:2em auto;max-width:66em;padding:0 1em;background:#fff;color:#1b1f24}
@media (prefers-color-scheme:dark){body{background:#111418;color:#e6e9ec}}
</style>"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a card.

    `mark` is "✓", "✗" or "·"; `aside` stands at the right, such as a time or a size; `share`, from 0 to 1, is drawn as a
    bar; `notes` are seen at once, `details` when a person clicks.
    """

    mark: str
    name: str
    text: str = ""
    aside: str = ""
    share: float | None = None
    notes: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    def html(self) -> str:
        """Return the row, with its details folded away."""
        drawn = "" if self.share is None else f"<div>{_bar(self.share)}</div>"
        # A row without a name is all text.
        name, kind = (f"<b class=cenv-n>{escape(self.name)}</b> ", "cenv-r") if self.name else ("", "'cenv-r cenv-w'")
        cells = (
            f"{_mark(self.mark)} {name}"
            f"<span class=cenv-v>{escape(self.text)}{drawn}</span> <span class=cenv-t>{escape(self.aside)}</span>"
        )
        notes = f"<div class=cenv-m>{''.join(map(_paragraph, self.notes))}</div>" if self.notes else ""
        if not self.details:
            return f"<div class={kind}>{cells}</div>{notes}"
        inside = "".join(f"<p><code>{escape(line)}</code></p>" for line in self.details)
        return f"<details><summary class={kind}>{cells}</summary><div class='cenv-m cenv-d'>{inside}</div></details>{notes}"


def card(
    title: str, rows: Iterable[Row], *, mark: str = "✓", aside: str = "", notes: Sequence[str] = (), more: str = ""
) -> str:
    """Return a card: a title with its mark, rows, sentences below them, and `more`, which is HTML already."""
    head = f"<p class=cenv-h>{_mark(mark)} {escape(title)} <small>{escape(aside)}</small></p>"
    below = "".join(map(_paragraph, notes))
    return f"<div class=cenv>{_STYLE}{head}{''.join(row.html() for row in rows)}{below}{more}</div>"


def folded(summary: str, content: str) -> str:
    """Return HTML that a person sees after a click."""
    return f"<details><summary>{escape(summary)}</summary><div class=cenv-s>{content}</div></details>"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of texts."""
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def page(title: str, body: str) -> str:
    """Return a whole HTML document, which needs nothing else."""
    document = (
        f"<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title>{_PAGE_STYLE}</head><body>{body}</body></html>\n"
    )
    return document.encode("utf-8", "replace").decode()  # a path may have bytes that are no text


def progress(lines: Iterable[str], now: Row | None) -> str:
    """Return the card of a call that goes on: the lines that stay, and what is done at this moment."""
    rows = [
        Row(mark=line[0], name="", text=line[2:]).html()
        if line[:2] in ("✓ ", "✗ ")
        else f"<div class=cenv-m>{_paragraph(line)}</div>"
        for line in lines
    ]
    if now is not None:
        drawn = "" if now.share is None else f"<div>{_bar(now.share)}</div>"
        # A line for what the tool says, also while it says nothing: a card that jumps is hard to read.
        words = f"<b>{escape(now.name)}</b>{drawn}<div><small>{escape(now.text) or '&nbsp;'}</small></div>"
        rows.append(
            f"<div class='cenv-r cenv-w'>{_mark(now.mark)} <div>{words}</div> <span class=cenv-t>{escape(now.aside)}</span></div>"
        )
    return f"<div class=cenv>{_STYLE}{''.join(rows)}</div>"


def _mark(mark: str) -> str:
    kind = {"✓": "cenv-ok", "✗": "cenv-no"}.get(mark, "cenv-d")
    return f"<span class={kind}>{escape(mark)}</span>"


def _bar(share: float) -> str:
    return f"<span class=cenv-b><i style='width:{100 * min(max(share, 0.0), 1.0):.1f}%'></i></span>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"
