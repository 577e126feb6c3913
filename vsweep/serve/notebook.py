"""The report of an analysis, or one figure of it, below a cell of a notebook."""

import base64
import html
from typing import Any

HEIGHT = 800  # pixels
FRAME = (
    '<div><iframe title="{title}" sandbox="allow-scripts allow-downloads allow-popups" '
    'style="width: 100%; height: {height}px; border: 0" srcdoc="{page}"></iframe></div>'
)


def show(result: Any, figure: str | None = None, *, height: int = HEIGHT) -> None:
    """Displays the report of `result` in a Jupyter notebook, or one of its figures.

    The page is a copy inside a frame, in a sandbox: it can neither reach the notebook nor load anything, and it stays
    in the saved notebook. Figures are drawn as in papers (SVG); those of the whole page can be touched.

    Args:
      result: what `vsweep.analyse` returned.
      figure: a name in `result.figures`, such as `isoflop_valleys`; None for the whole report.
      height: of the frame, in pixels.

    Raises:
      ImportError: no IPython here; the message says how to install it.
      ValueError: a figure that `result` does not have; the message lists those that it has.
      FileNotFoundError: the report has been moved away.
    """
    try:
        from IPython.display import HTML, display
    except ImportError as error:
        raise ImportError('vsweep.show is for notebooks: pip install "vsweep[notebook]"') from error
    display(HTML(_frame(result, height) if figure is None else _picture(result, figure)))


def _frame(result: Any, height: int) -> str:
    page = result.report.read_text(encoding="utf-8")
    return FRAME.format(title=html.escape(str(result.report)), height=int(height), page=html.escape(page))


def _picture(result: Any, name: str) -> str:
    drawings = {drawing.name: drawing for drawing in result.drawings}
    if name not in drawings:
        raise ValueError(f"figure: none of this name - got {name!r}; allowed: {', '.join(drawings) or 'there is none'}")
    image = base64.b64encode(drawings[name].svg).decode()
    caption = html.escape(drawings[name].caption)
    return (
        f'<figure style="margin: 0"><img alt="{caption}" style="max-width: 100%; background: white" '
        f'src="data:image/svg+xml;base64,{image}"><figcaption>{caption}</figcaption></figure>'
    )
