"""What a file's name says about its content: plain tables."""

from __future__ import annotations

import re
from typing import Final

from embedmill.core.documents import Kind

HTML_SUFFIXES = frozenset({".htm", ".html", ".xhtml"})
DOCUMENT_SUFFIXES = HTML_SUFFIXES | {".docx", ".pdf", ".pptx", ".rtf"}
"""Formats that are converted before they are text, by the extra ``documents`` (see `conversion`)."""

MAIL_SUFFIXES = frozenset({".eml", ".emlx", ".mbox", ".mbx", ".mht", ".mhtml"})
"""Formats that are converted before they are text, by the standard library."""

NOTEBOOK_SUFFIXES = frozenset({".ipynb"})

MARKDOWN_SUFFIXES = frozenset({".markdown", ".md", ".mdown", ".mdx", ".mkd", ".qmd", ".rmd"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _suffixes(text: str) -> frozenset[str]:
    return frozenset(f".{suffix}" for suffix in text.split())


_PROGRAMS: Final = _suffixes("""
    adb ads asm bas bash bat bzl c cc cjs clj cljc cljs cmake cmd coffee cpp cr cs cu cuh cxx d dart el elm erl
    ex exs f f03 f08 f90 f95 fish for fs fsi fsx glsl go gradle groovy h hh hlsl hpp hrl hs hxx inl ipp java jl
    js jsx kt kts lean lisp lua m metal mjs mk ml mli mm mts nim nix odin pas php pl pm pro ps1 psm1 py pyi pyx
    r rb rkt rs s scala scm sh sol sql sv svelte swift tcl ts tsx v vala vb vhd vhdl vim vue wat wgsl zig zsh
""")
# The languages around them: structure by lines and indentation, not by sentences.
_AROUND_PROGRAMS: Final = _suffixes("""
    avsc bib cfg conf css dockerfile editorconfig gql graphql hcl ini ipynb json json5 jsonc jsonl less ndjson
    plist properties proto sass scss tf tfvars thrift toml xml xsd xsl xslt yaml yml
""")
CODE_SUFFIXES = _PROGRAMS | _AROUND_PROGRAMS

CODE_NAMES = _words("""
    brewfile build build.bazel cmakelists.txt containerfile dockerfile gemfile gnumakefile jenkinsfile justfile
    makefile podfile procfile rakefile sconscript sconstruct vagrantfile workspace
""")

# Only what is never text. The content decides on the rest when it is read. Pictures, sound, film and fonts; archives,
# packages and disks; programs and what compilers leave; office formats that are not converted; data and models.
BINARY_SUFFIXES = _suffixes("""
    aac avi avif bmp eot flac gif heic icns ico jpeg jpg jxl m4a m4v mkv mov mp3 mp4 mpeg mpg ogg opus otf png
    psd tif tiff ttf wav webm webp wmv woff woff2
    7z apk bz2 deb dmg egg gz iso jar lz4 msi qcow2 rar rpm tar tbz tgz txz vmdk war whl xz zip zst
    class dll dylib exe ko o pyc pyd pyo so wasm
    doc epub odp ods odt ppt xls xlsb xlsm xlsx
    arrow db feather gguf h5 hdf5 npy npz onnx orc parquet pickle pkl pt pth safetensors sqlite sqlite3 tflite
""")

_LOCK_FILES: Final = _words("""
    .package-lock.json .pnp.cjs .pnp.js .pnp.loader.mjs .terraform.lock.hcl bun.lock cargo.lock
    cartfile.resolved chart.lock composer.lock conan.lock conda-lock.yaml conda-lock.yml deno.lock flake.lock
    gemfile.lock glide.lock go.sum go.work.sum gopkg.lock gradle.lockfile mix.lock module.bazel.lock
    npm-shrinkwrap.json package-lock.json package.resolved packages.lock.json paket.lock pdm.lock pipfile.lock
    pixi.lock pnpm-lock.yaml podfile.lock poetry.lock pubspec.lock pylock.toml rebar.lock shard.lock
    shrinkwrap.yaml stack.yaml.lock symfony.lock uv.lock yarn.lock
""")

_GENERATED_NAMES: Final = re.compile(
    r"""[^/]*[.-]min\.(?:js|mjs|cjs|css)
    |[^/]*\.(?:js|mjs|cjs|css|ts|mts|cts)\.map
    |[^/]*(?:\.pb\.(?:go|cc|h|validate\.go)|\.pb\.gw\.go|_pb2(?:_grpc)?\.pyi?|_pb\.(?:js|d\.ts|rb)|_grpc_pb\.js)
    |[^/]*\.(?:g|freezed|gr|mocks|chopper)\.dart
    |[^/]*\.(?:designer|g|g\.i)\.cs
    |[^/]*\.generated\.[a-z]+
    |zz_generated\.[^/]*
    |[^/]*\.(?:pbxproj|xcworkspacedata|nib|xib|js\.snap|jsx\.snap|ts\.snap|tsx\.snap)
    |aclocal\.m4|libtool|ltmain\.sh|config\.(?:guess|sub)""",
    re.VERBOSE,
)


def is_office_lock(name: str) -> bool:
    """Whether Word (``~$report.docx``) or LibreOffice (``.~lock.report.odt#``) notes there who has a document open."""
    return name.startswith("~$") or (name.startswith(".~lock.") and name.endswith("#"))


def suffix_of(name: str) -> str:
    """The last suffix with its dot, in lower case; "" for none. A name's leading dot begins no suffix."""
    stem, dot, last = name.rpartition(".")
    return dot + last.lower() if stem else ""


def kind_of(name: str, text: str) -> Kind:
    """How the text of a file of this name is to be cut.

    A name that says nothing (no suffix) leaves it to the first line: a shebang begins a program.
    """
    suffix = suffix_of(name)
    if suffix in MARKDOWN_SUFFIXES or suffix in DOCUMENT_SUFFIXES:
        return Kind.MARKDOWN
    if suffix in CODE_SUFFIXES or name.lower() in CODE_NAMES or (not suffix and text.startswith("#!")):
        return Kind.CODE
    return Kind.TEXT


def is_generated_name(name: str) -> bool:
    """Whether a file's name says that it is generated."""
    lower = name.lower()
    return lower in _LOCK_FILES or _GENERATED_NAMES.fullmatch(lower) is not None
