"""Word to Markdown by ``mammoth``, which passes over some of what people read.

That is brought into forms that it knows before: fields, ruby, text boxes, formulas; headers, footers and comments
become paragraphs at the end.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from xml.etree import ElementTree

import mammoth

from embedmill.sources.files.converters.html import markdown, parsed
from embedmill.sources.files.converters.result import Converted

Element = ElementTree.Element

_TITLES: Final = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh\nbr[type='page'] => hr"

_UNWRAPPED: Final = frozenset({"fldSimple", "dir", "bdo", "ruby", "rubyBase", "subDoc"})
_DROPPED: Final = frozenset({"rubyPr", "rt", "fldData"})


def convert(data: bytes) -> Converted:
    """The document with its notes, then headers, footers and comments."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        changed = _prepared(archive)
        rewritten = io.BytesIO()
        with zipfile.ZipFile(rewritten, "w") as target:
            for name in archive.namelist():
                if not re.search(r"/media/|/embeddings/", name):
                    target.writestr(name, changed.get(name) or archive.read(name))
                else:  # nobody looks at its bytes, but that it is there
                    target.writestr(name, b"")
    page = mammoth.convert_to_html(
        rewritten,
        style_map=_TITLES,
        convert_image=mammoth.images.img_element(lambda image: {"src": ""}),
    ).value
    soup = parsed(page)
    for link in soup.find_all("a", href=re.compile("^#")):
        if link.get_text() == "↑":  # back from a note
            link.decompose()
    return Converted(markdown(soup))


def _prepared(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """The parts that are to be read otherwise than they are."""
    main = _main_part(archive)
    folder = posixpath.dirname(main)
    names = set(archive.namelist())
    changed: dict[str, Element] = {}
    for name in (main, f"{folder}/footnotes.xml", f"{folder}/endnotes.xml"):
        if name in names:
            changed[name] = _simplified(archive.read(name))
    body = next((child for child in changed.get(main, ()) if _local(child) == "body"), None)
    if body is not None:
        body.extend(_aside(archive, folder, body))
    return {name: ElementTree.tostring(root, "utf-8") for name, root in changed.items()}


def _parsed(data: bytes) -> Element:
    # expat bounds what entities grow to, and this process its memory; nothing outside of the data is looked up.
    return ElementTree.fromstring(data)  # noqa: S314


def _main_part(archive: zipfile.ZipFile) -> str:
    with suppress(KeyError):
        for each in _parsed(archive.read("_rels/.rels")):
            if each.get("Type", "").endswith("/officeDocument"):
                return each.get("Target", "").lstrip("/")
    return "word/document.xml"


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _like(element: Element, name: str) -> str:
    """A name in the namespace of Word that the element's document uses: there are two."""
    return f"{{{element.tag.rpartition('}')[0].lstrip('{')}}}{name}"


def _simplified(data: bytes) -> Element:
    """A part, with the text of fields, ruby, text boxes and formulas where mammoth reads it."""
    root = _parsed(data)
    pending = [root]
    while pending:
        parent = pending.pop()
        children: list[Element] = []
        left = list(reversed(parent))
        while left:
            child = left.pop()
            name = _local(child)
            if name in _DROPPED:
                continue
            if name in _UNWRAPPED:
                left.extend(reversed(child))
            elif name == "AlternateContent":
                left.extend(reversed(_best_version(child)))
            elif name == "drawing" and (boxes := list(_text_boxes(child))):
                children.extend(boxes)
            elif name in ("oMath", "oMathPara"):
                children.append(_run(root, _formula(child)))
            elif name == "r" and any(_local(each) == "ruby" for each in child):
                left.extend(reversed(_runs_around_ruby(child)))
            else:
                if name in ("cr", "ptab"):
                    child.tag = _like(child, "br" if name == "cr" else "tab")
                children.append(child)
        parent[:] = children
        pending.extend(children)
    return root


def _best_version(alternatives: Element) -> list[Element]:
    """The version for older programs, unless it lacks text that the newer one has."""
    versions = {_local(version): version for version in reversed(alternatives)}
    new, old = versions.get("Choice"), versions.get("Fallback")
    if old is None or (new is not None and len(_text(old)) < len(_text(new))):
        return list(new if new is not None else [])
    return list(old)


def _text(element: Element) -> str:
    return "".join(each.text or "" for each in element.iter() if _local(each) == "t")


def _text_boxes(drawing: Element) -> Iterator[Element]:
    """Its text boxes in the older form, which mammoth reads; it puts them behind their paragraph."""
    for box in drawing.iter():
        if _local(box) == "txbxContent":
            picture = Element(_like(box, "pict"))
            ElementTree.SubElement(picture, "{urn:schemas-microsoft-com:vml}textbox").append(box)
            yield picture


def _runs_around_ruby(run: Element) -> list[Element]:
    """A run with ruby in it, as its own text and the runs of the ruby's base."""
    parts: list[Element] = []
    for child in run:
        if _local(child) == "ruby":
            base = next((each for each in child if _local(each) == "rubyBase"), None)
            parts.extend(base if base is not None else ())
        elif _local(child) != "rPr":
            own = Element(run.tag)
            own.append(child)
            parts.append(own)
    return parts


def _run(like: Element, text: str) -> Element:
    run = Element(_like(like, "r"))
    ElementTree.SubElement(run, _like(like, "t")).text = text
    return run


def _formula(element: Element) -> str:
    """A formula on one line."""
    name = _local(element)
    if name == "t":
        return element.text or ""
    parts = {_local(child): _formula(child) for child in element}
    if name == "f":
        return f"({parts.get('num', '')})/({parts.get('den', '')})"
    if name == "rad":
        return f"√({parts.get('e', '')})"
    if name in ("sSup", "sSub", "sSubSup"):
        below = f"_{parts['sub']}" if parts.get("sub") else ""
        above = f"^{parts['sup']}" if parts.get("sup") else ""
        return parts.get("e", "") + below + above
    separator = " " if name in ("oMathPara", "mr") else ""
    return separator.join(filter(None, map(_formula, element)))


def _aside(archive: zipfile.ZipFile, folder: str, body: Element) -> Iterator[Element]:
    """Paragraphs with what stands outside the body, each text once."""
    seen: set[str] = set()
    names = sorted(name for name in archive.namelist() if name.startswith(f"{folder}/"))
    for name in names:
        kind = re.fullmatch(r"(header|footer|comments)\d*\.xml", posixpath.basename(name))
        if kind is None:
            continue
        root = _simplified(archive.read(name))
        for part in root if kind[1] == "comments" else [root]:
            said = f"Comment by {_author(part)}: " if kind[1] == "comments" else ""
            words = " ".join(filter(None, (_line(each) for each in part.iter() if _local(each) == "p")))
            if any(map(str.isalpha, words)) and words not in seen:
                seen.add(words)
                paragraph = Element(_like(body, "p"))
                paragraph.append(_run(body, said + words))
                yield paragraph


def _author(comment: Element) -> str:
    return next((value for name, value in comment.attrib.items() if name.endswith("}author")), "") or "somebody"


def _line(paragraph: Element) -> str:
    words: list[str] = []
    pending = list(reversed(paragraph))
    while pending:
        each = pending.pop()
        name = _local(each)
        if name == "t":
            words.append(each.text or "")
        elif name in ("tab", "br"):
            words.append(" ")
        elif name not in ("del", "moveFrom", "p", "pPr"):
            pending.extend(reversed(each))
    return " ".join("".join(words).split())
