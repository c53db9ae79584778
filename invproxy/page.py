"""
The pages that people see of the proxy itself: one for whatever is to be said (errors, signing in and out), and what all
others have in common.

They load nothing from anywhere and run no script.
"""

from __future__ import annotations

from html import escape

PALETTE = """\
:root { color-scheme: light dark; --back: #f4f5f7; --card: #fff; --text: #1c2330; --faint: #5b6472; --line: #dfe3e8;
  --accent: #1f5fbf; --on: #fff }
@media (prefers-color-scheme: dark) { :root { --back: #12151b; --card: #1b2028; --text: #e4e8ee; --faint: #9aa4b2;
  --line: #2c333e; --accent: #8ab4f8; --on: #10141b } }
"""
"""Colors for the day and for the night, as a style sheet."""

_STYLE = """\
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--back);
  color: var(--text); font: 1rem/1.6 system-ui, sans-serif }
main { width: 100%; max-width: 34rem; padding: 2rem 2.25rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; overflow-wrap: anywhere }
h1 { margin: 0 0 1rem; font-size: 1.5rem; line-height: 1.25 }
p { margin: .5rem 0 }
code { padding: .1em .35em; border-radius: .3em; background: var(--back); font: .9em ui-monospace, monospace }
.faint { color: var(--faint); font-size: .9rem }
a { color: var(--accent) }
button { margin-top: .75rem; padding: .55rem 1.1rem; border: 0; border-radius: .45rem; background: var(--accent);
  color: var(--on); font: inherit; cursor: pointer }
"""


def page(title: str, content: str) -> str:
    """
    Make a page.

    @param title: what it is about, as text.
    @param content: what stands below the title, as HTML.
    @return: the document.
    """
    shown = escape(title)
    return document(shown, PALETTE + _STYLE, f"<h1>{shown}</h1>\n{content}")


def document(title: str, style: str, content: str, head: str = "") -> str:
    """
    Make a whole document.

    @param title: what it is about, as HTML.
    @param style: its style sheet.
    @param content: what it says, as HTML.
    @param head: more for its head, as HTML.
    """
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{head}<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{content}
</main>
</body>
</html>
"""
