"""HTML whose text is escaped by default: a page is built of elements, and only what is built here is no plain text."""

import html

# Nothing is loaded and nothing runs, whatever got into the page: figures are inside it, and so are the styles.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Markup(str):
    """Finished HTML. Formatting, joining or adding to it gives a plain string, which is escaped once more."""

    __slots__ = ()


def element(name: str, /, *content: object, **attributes: object) -> Markup:
    """`<name ...>content</name>`: Markup goes in as it is, all else as escaped text. `class_` is the class."""
    return Markup(f"{_start(name, attributes)}{joined(*content)}</{name}>")


def void(name: str, /, **attributes: object) -> Markup:
    """An element without content or end, such as an image."""
    return Markup(_start(name, attributes))


def joined(*content: object, between: str = "") -> Markup:
    return Markup(_escaped(between).join(map(_escaped, content)))


def page(title: str, styles: str, *body: object) -> Markup:
    """A whole document. `styles` is CSS of this program: where it stands, no text can be escaped."""
    head = joined(
        void("meta", charset="utf-8"),
        void("meta", http_equiv="Content-Security-Policy", content=POLICY),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        Markup(f"<style>\n{styles}</style>"),
        between="\n",
    )
    main = element("main", "\n", joined(*body, between="\n"), "\n")
    return Markup(f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{main}\n</body>\n</html>\n')


def _start(name: str, attributes: dict[str, object]) -> str:
    given = "".join(
        f' {attribute.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for attribute, value in attributes.items()
    )
    return f"<{name}{given}>"


def _escaped(value: object) -> str:
    return value if isinstance(value, Markup) else html.escape(str(value))
