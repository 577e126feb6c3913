"""Static figures as part of the page: SVG without its head, with shared glyphs and colours for light and dark.

Matplotlib draws black on white and repeats every glyph and style in each figure. In the page each glyph stands once, a
style is a class, and coordinates have two decimals. That halves the page, and lets a style sheet say what dark means.
"""

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
GLYPHS = "DejaVu"  # the ids of glyphs begin with the name of their font
DROPPED = ("metadata", "style", "title")
ROLES = {"#000000": "var(--text)", "#ffffff": "var(--back)", "#dddddd": "var(--grid)", "#999999": "var(--soft)"}
# In the dark, colours of data are mixed with white. The same straight line is an SVG filter for pictures (`lift`).
KEPT, WHITE = 0.68, 0.27
NUMBER = re.compile(r"-?\d+\.\d+")
COMMAND = re.compile(r"([A-DF-Za-df-z])([^A-DF-Za-df-z]*)")  # of a path: all letters but the e of an exponent
COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass
class Shared:
    """What the figures of one page share: glyphs by id, and classes by style."""

    glyphs: dict[str, str] = field(default_factory=dict)
    styles: dict[str, str] = field(default_factory=dict)

    def class_of(self, style: str) -> str:
        """The class of a style; a new one is made."""
        return self.styles.setdefault(style, f"s{len(self.styles)}")

    @property
    def css(self) -> str:
        """The classes, and their colours in the dark."""
        plain = "".join(f".{name}{{{_compact(style)}}}" for style, name in self.styles.items())
        dark = {name: _dark(style) for style, name in self.styles.items()}
        rules = "".join(f".{name}{{{style}}}" for name, style in dark.items() if style)
        return f"{plain}\n@media screen and (prefers-color-scheme: dark) {{{rules}}}\n"


def inline(svg: bytes, name: str, label: str, shared: Shared) -> str:
    """The figure as an element of an HTML page; `label` is what a screen reader says.

    Raises ElementTree.ParseError for what is no SVG.
    """
    root = ElementTree.fromstring(svg)
    used = set(re.findall(rb'(?:href="|url\()#([^")]+)', svg))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.removeprefix(SVG) in DROPPED:
                parent.remove(child)
            elif child.get("id", "").startswith(GLYPHS):
                shared.glyphs.setdefault(child.get("id"), _glyph(child))
                parent.remove(child)
    _without_empty(root)
    for element in root.iter():
        _shorten(element, name, used, shared)
    root.attrib = {"viewBox": root.get("viewBox"), "role": "img", "aria-label": label, "class": "plot"}
    ElementTree.register_namespace("", SVG.strip("{}"))
    return ElementTree.tostring(root, encoding="unicode").replace(f' xmlns="{SVG.strip("{}")}"', "")


def sprite(shared: Shared) -> str:
    """An element without size that holds the glyphs and the filter for pictures in the dark."""
    slopes = "".join(f'<feFunc{c} type="linear" slope="{KEPT}" intercept="{WHITE}"/>' for c in "RGB")
    lift = f'<filter id="lift" color-interpolation-filters="sRGB"><feComponentTransfer>{slopes}</feComponentTransfer>'
    inside = f"<defs>{lift}</filter>{''.join(shared.glyphs.values())}</defs>"
    return f'<svg class="sprite" width="0" height="0" aria-hidden="true">{inside}</svg>'


def _glyph(path: ElementTree.Element) -> str:
    outline = " ".join(path.get("d", "").split())
    return f'<path id="{path.get("id")}" d="{outline}" transform="{path.get("transform", "")}"/>'


def _without_empty(root: ElementTree.Element) -> None:
    """Groups that hold nothing any more are left out, innermost first."""
    for child in list(root):
        _without_empty(child)
        if child.tag in (f"{SVG}g", f"{SVG}defs") and not len(child):
            root.remove(child)


def _shorten(element: ElementTree.Element, name: str, used: set[bytes], shared: Shared) -> None:
    """Fewer digits and no repeated style; ids that nothing refers to go, and the others carry the figure's name."""
    attributes = element.attrib
    own = attributes.pop("id", None)
    if own is not None and own.encode() in used:
        attributes["id"] = f"{name}-{own}"
    target = attributes.pop(LINK, None)
    if target is not None:
        local = target.startswith("#") and not target.startswith(f"#{GLYPHS}")
        attributes["href"] = f"#{name}-{target[1:]}" if local else target
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("url(#", f"url(#{name}-")
    if "style" in attributes:
        attributes["class"] = shared.class_of(attributes.pop("style"))
    for key in ("d", "x", "y", "width", "height"):
        if key in attributes:
            attributes[key] = _rounded(" ".join(attributes[key].split()))
    if "d" in attributes:
        attributes["d"] = _without_repeats(attributes["d"])
    if "transform" in attributes:
        attributes["transform"] = re.sub(r"translate\([^)]*\)", lambda at: _rounded(at[0]), attributes["transform"])
    element.text = element.tail = None


def _without_repeats(path: str) -> str:
    """The same path with a letter only where the command changes: behind a move or a line, two numbers are a line."""
    parts, last = [], ""
    for letter, numbers in COMMAND.findall(path):
        follows = letter == "L" and last in ("M", "L")
        parts.append(f" {numbers.strip()}" if follows else letter + numbers.strip())
        last = letter
    return "".join(parts)


def _rounded(text: str) -> str:
    return NUMBER.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)


def _compact(style: str) -> str:
    return style.replace(": ", ":").replace("; ", ";")


def _dark(style: str) -> str:
    """The declarations of colours as they are in the dark; empty where there is none."""
    parts = [part for part in _compact(style).split(";") if COLOUR.search(part)]
    return ";".join(COLOUR.sub(lambda colour: ROLES.get(colour[0]) or _lifted(colour[0]), part) for part in parts)


def _lifted(colour: str) -> str:
    values = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{min(255, round(KEPT * value + 255 * WHITE)):02x}" for value in values)
